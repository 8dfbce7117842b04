//! The PROXY header, versions 1 and 2, that a proxy writes before the bytes of its client.

use std::io;
use std::net::SocketAddr;

use proxy_header::{ParseConfig, ProxyHeader};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// What version 2 begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Longest header of version 1, with its line break.
const LONGEST_V1: usize = 107;
/// Longest header of version 2 that is taken; addresses need 52 bytes, the rest are extensions.
const LONGEST_V2: usize = 4096;

/// Reads the header, and not a byte more; the client's address, `None` where the proxy speaks for itself.
///
/// # Errors
/// The header is missing or wrong, or the connection ends in it.
pub async fn header(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    let mut bytes = vec![0; SIGNATURE.len()];
    stream.read_exact(&mut bytes).await?;
    if bytes == SIGNATURE {
        bytes.resize(16, 0);
        stream.read_exact(&mut bytes[12..]).await?;
        let whole = 16 + usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
        if whole > LONGEST_V2 {
            return Err(wrong());
        }
        bytes.resize(whole, 0);
        stream.read_exact(&mut bytes[16..]).await?;
    } else if bytes.starts_with(b"PROXY ") {
        while !bytes.ends_with(b"\r\n") {
            if bytes.len() == LONGEST_V1 {
                return Err(wrong());
            }
            bytes.push(stream.read_u8().await?);
        }
    } else {
        return Err(wrong());
    }
    let config = ParseConfig { include_tlvs: false, ..ParseConfig::default() };
    let (header, length) = ProxyHeader::parse(&bytes, config).map_err(|_| wrong())?;
    if length != bytes.len() {
        return Err(wrong());
    }
    Ok(header.proxied_address().map(|address| address.source))
}

fn wrong() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "no PROXY header, or a wrong one")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(bytes: &[u8]) -> (Option<Option<String>>, usize) {
        let mut left = bytes;
        let found = header(&mut left).await;
        (found.ok().map(|address| address.map(|address| address.to_string())), left.len())
    }

    fn v2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let length = (addresses.len() as u16).to_be_bytes();
        [SIGNATURE.as_slice(), &[0x20 | command, family], &length, addresses].concat()
    }

    #[tokio::test]
    async fn both_versions_name_the_client_and_leave_its_bytes() {
        let v1 = b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\r\nPOST";
        assert_eq!(read(v1).await, (Some(Some("192.0.2.7:4711".to_owned())), 4));
        let v6 = b"PROXY TCP6 2001:db8::9 fd00::1 4711 443\r\n";
        assert_eq!(read(v6).await, (Some(Some("[2001:db8::9]:4711".to_owned())), 0));
        assert_eq!(read(b"PROXY UNKNOWN\r\nPOST").await, (Some(None), 4));
        let mut tcp4 = v2(1, 0x11, &[192, 0, 2, 7, 10, 0, 0, 1, 0x12, 0x67, 1, 187]);
        tcp4.extend(b"POST");
        assert_eq!(read(&tcp4).await, (Some(Some("192.0.2.7:4711".to_owned())), 4));
        assert_eq!(read(&v2(0, 0, &[])).await, (Some(None), 0));
    }

    #[tokio::test]
    async fn anything_else_is_refused() {
        let long = [b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat();
        let huge = [SIGNATURE.as_slice(), &[0x21, 0x11, 0xff, 0xff]].concat();
        let cut = v2(1, 0x11, &[192, 0, 2, 7]);
        let cases: [&[u8]; 7] = [
            b"POST /webhooks/a HTTP/1.1\r\n",
            b"PROXY TCP4 192.0.2.7\r\n",
            b"PROXY TCP4 999.0.2.7 10.0.0.1 1 2\r\n",
            b"PROXY TC",
            &long,
            &huge,
            &cut,
        ];
        for bytes in cases {
            assert_eq!(read(bytes).await.0, None, "{}", bytes.escape_ascii());
        }
    }
}
