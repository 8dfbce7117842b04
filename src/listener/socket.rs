//! Sockets: taken before anything else is started, and what comes out of them.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::rt::net::{TcpStream, UnixStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, UnixSocket};

use super::{Address, Mode};

/// Connections that the kernel holds until a worker takes them.
const BACKLOG: u32 = 4096;
/// Bytes of answers that the kernel holds for a client, doubled by it for what else it needs.
const SEND_BUFFER: u32 = 128 << 10;

/// A socket that is ours, and listens.
#[derive(Debug)]
pub enum Listener {
    /// Over TCP.
    Tcp(TcpListener),
    /// Over a Unix socket.
    Unix(UnixListener),
}

impl Listener {
    /// Takes `address`, so that it is known to be ours before anything else is started. A Unix socket gets the
    /// permissions `mode`, and lasts as long as its [`File`]; one that a process left behind, which nobody listens on
    /// any more, is replaced.
    ///
    /// # Errors
    /// It is in use or not ours; it is one of systemd's.
    pub fn bind(address: &Address, mode: Mode) -> io::Result<(Self, Option<File>)> {
        match address {
            Address::Tcp(address) => Ok((Self::Tcp(tcp(*address)?), None)),
            Address::Unix(path) => unix(path, mode).map(|(listener, file)| (Self::Unix(listener), Some(file))),
            Address::Systemd(_) => Err(io::Error::new(io::ErrorKind::Unsupported, "systemd passes it")),
        }
    }

    /// Where it is, as far as can be told.
    ///
    /// # Errors
    /// The system does not say.
    pub fn address(&self) -> io::Result<Address> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Address::Tcp),
            Self::Unix(listener) => {
                Ok(Address::Unix(listener.local_addr()?.as_pathname().unwrap_or(Path::new("?")).to_owned()))
            }
        }
    }
}

fn tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Connections have it from their listener. What the kernel holds for a client that does not read is bounded so, and what a
    // slow one takes is seen soon.
    socket.set_send_buffer_size(SEND_BUFFER)?;
    // A restart must not wait for connections of the last process to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

fn unix(path: &Path, mode: Mode) -> io::Result<(UnixListener, File)> {
    let bind = || -> io::Result<UnixSocket> {
        let socket = UnixSocket::new_stream()?;
        socket.bind(path)?;
        Ok(socket)
    };
    let socket = match bind() {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_stale(path)? => {
            fs::remove_file(path)?;
            bind()?
        }
        bound => bound?,
    };
    let file = File::of(path)?;
    // Before it listens: nobody is let in meanwhile.
    fs::set_permissions(path, fs::Permissions::from_mode(mode.0))?;
    Ok((socket.listen(BACKLOG)?.into_std()?, file))
}

/// Whether `path` is a socket that nobody listens on.
fn is_stale(path: &Path) -> io::Result<bool> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        let what = "is there, and is no socket: it is left alone";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
    }
    let asked = std::os::unix::net::UnixStream::connect(path);
    Ok(asked.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused))
}

/// The file of a Unix socket; it goes when this is dropped, unless another process has put its own there.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    id: (u64, u64),
}

impl File {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), id: id(path)? })
    }
}

impl Drop for File {
    fn drop(&mut self) {
        if id(&self.path).is_ok_and(|id| id == self.id) {
            // Left behind it is in nobody's way: the next start replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn id(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// A connection as the kernel gives it.
#[derive(Debug)]
pub enum Socket {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix socket.
    Unix(UnixStream),
}

impl Socket {
    /// Whom it is with; a Unix socket has no addresses.
    ///
    /// # Errors
    /// The client is gone already.
    pub fn peer(&self) -> io::Result<Option<SocketAddr>> {
        match self {
            Self::Tcp(stream) => stream.peer_addr().map(Some),
            Self::Unix(_) => Ok(None),
        }
    }

    /// Sends each answer at once: it is one small segment, and waiting for more would only delay it.
    ///
    /// # Errors
    /// The client is gone already.
    pub fn set_nodelay(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_nodelay(true),
            Self::Unix(_) => Ok(()),
        }
    }

    /// Throws away what is there to read, up to about `most` bytes.
    pub fn discard(&self, most: usize) {
        let (mut scratch, mut discarded) = ([0; 16 << 10], 0);
        while discarded < most {
            let read = match self {
                Self::Tcp(stream) => stream.try_read(&mut scratch),
                Self::Unix(stream) => stream.try_read(&mut scratch),
            };
            match read {
                Ok(read) if read > 0 => discarded += read,
                // The end, nothing more for now, or a client that is gone.
                _ => return,
            }
        }
    }

    /// Waits until the client has said something, or is gone.
    ///
    /// # Errors
    /// The system cannot tell.
    pub async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.readable().await,
            Self::Unix(stream) => stream.readable().await,
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(path: &Path) -> io::Result<(Listener, Option<File>)> {
        Listener::bind(&Address::Unix(path.to_owned()), Mode(0o600))
    }

    #[tokio::test]
    async fn a_socket_that_nobody_listens_on_any_more_is_replaced_and_one_in_use_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        drop(UnixListener::bind(&path).unwrap());
        let listener = bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(listener.0.address().unwrap(), Address::Unix(path.clone()));
        assert_eq!(bind(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn what_is_no_socket_of_ours_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        fs::write(&path, "mine").unwrap();
        assert!(bind(&path).unwrap_err().to_string().contains("no socket"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
        fs::remove_file(&path).unwrap();
        let listener = bind(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        drop(listener);
        assert!(path.exists(), "the socket of another process");
    }
}
