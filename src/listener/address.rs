//! Where a listener stands: an address, a Unix socket, or a socket that systemd holds.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

/// What a Unix socket is written with.
const UNIX: &str = "unix:";
/// What a socket of systemd is written with.
const SYSTEMD: &str = "systemd";

/// `listen` of a section.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
pub enum Address {
    /// An address and a port.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
    /// A socket that systemd passes, by its `FileDescriptorName=`; `None`: the only one.
    Systemd(Option<String>),
}

impl Address {
    /// Whether only this host reaches it.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().is_loopback(),
            Self::Unix(_) => true,
            Self::Systemd(_) => false,
        }
    }

    /// Whether both are one and the same place.
    pub fn collides(&self, other: &Self) -> bool {
        let any_port = matches!(self, Self::Tcp(address) if address.port() == 0);
        self == other && !any_port
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix(UNIX).filter(|path| !path.is_empty()) {
            return Ok(Self::Unix(path.into()));
        }
        if let Some(rest) = text.strip_prefix(SYSTEMD) {
            match rest.strip_prefix(':') {
                None if rest.is_empty() => return Ok(Self::Systemd(None)),
                Some(name) if !name.is_empty() => return Ok(Self::Systemd(Some(name.to_owned()))),
                _ => {}
            }
        }
        text.parse().map(Self::Tcp).map_err(|_| {
            format!(
                "`{text}` is not an address and a port such as \"0.0.0.0:8080\", \"unix:PATH\", \"systemd\" or \
                 \"systemd:NAME\""
            )
        })
    }
}

impl TryFrom<String> for Address {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
            Self::Systemd(None) => f.write_str(SYSTEMD),
            Self::Systemd(Some(name)) => write!(f, "{SYSTEMD}:{name}"),
        }
    }
}

impl JsonSchema for Address {
    fn schema_name() -> Cow<'static, str> {
        "Address".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^(unix:.+|systemd(:.+)?|.+:\d{1,5})$",
            "description": "An address and a port, \"unix:PATH\", \"systemd\" or \"systemd:NAME\".",
        })
    }
}

/// Permissions of a Unix socket: octal digits, as `chmod` takes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
pub struct Mode(pub u32);

impl Default for Mode {
    fn default() -> Self {
        Self(0o660)
    }
}

impl TryFrom<String> for Mode {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let digits = (3..=4).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        let mode = u32::from_str_radix(&text, 8).ok().filter(|mode| digits && *mode <= 0o777);
        mode.map(Self).ok_or_else(|| format!("`{text}` is not a mode such as \"0660\""))
    }
}

impl JsonSchema for Mode {
    fn schema_name() -> Cow<'static, str> {
        "Mode".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^0?[0-7]{3}$", "description": "Permissions: \"0660\"."})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_is_written() {
        for text in ["127.0.0.1:8080", "[::1]:8080", "unix:/run/a.sock", "unix:a.sock", "systemd", "systemd:http"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for text in ["", "8080", "localhost:8080", "unix:", "unix", "systemd:", "systemdx", "127.0.0.1"] {
            assert!(text.parse::<Address>().unwrap_err().contains("is not an address and a port"), "{text}");
        }
    }

    #[test]
    fn who_reaches_a_place_is_known_or_taken_for_anybody() {
        for (text, local) in
            [("127.0.0.1:1", true), ("[::1]:1", true), ("unix:a", true), ("0.0.0.0:1", false), ("systemd:a", false)]
        {
            assert_eq!(text.parse::<Address>().unwrap().is_local(), local, "{text}");
        }
        let same = |text: &str| text.parse::<Address>().unwrap().collides(&text.parse().unwrap());
        assert!(same("127.0.0.1:1") && same("unix:a") && same("systemd") && !same("127.0.0.1:0"));
    }

    #[test]
    fn a_mode_is_octal() {
        assert_eq!(Mode::try_from("0660".to_owned()), Ok(Mode(0o660)));
        assert_eq!(Mode::try_from("777".to_owned()), Ok(Mode(0o777)));
        for text in ["", "66", "0888", "rw", "4755", "+660", "00660"] {
            assert!(Mode::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
