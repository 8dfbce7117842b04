//! How many connections one address may hold.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Counts open connections by address.
pub struct Admission {
    /// 0: any number.
    most: usize,
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// One counted connection; dropped with it.
pub struct Permit {
    address: IpAddr,
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Admission {
    /// At most `most` from one address.
    pub fn new(most: usize) -> Self {
        Self { most, open: Arc::default() }
    }

    /// Counts one more; `None` where nothing is counted.
    ///
    /// # Errors
    /// `address` holds as many as it may.
    pub fn admit(&self, address: IpAddr) -> io::Result<Option<Permit>> {
        if self.most == 0 {
            return Ok(None);
        }
        let address = network(address);
        // A count is right after every step: a panic elsewhere spoils nothing.
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(address).or_insert(0);
        if *count >= self.most {
            return Err(io::Error::other("too many connections from one address"));
        }
        *count += 1;
        Ok(Some(Permit { address, open: self.open.clone() }))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

/// What one sender can be expected to have: an IPv4 address, or the /64 of an IPv6 address.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) & !u128::from(u64::MAX)).into()),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_holds_so_many_connections_and_no_more_and_is_forgotten_after_the_last() {
        let admission = Admission::new(2);
        let admit = |address: &str| admission.admit(address.parse().unwrap());
        let first = admit("192.0.2.1").unwrap();
        let _second = admit("::ffff:192.0.2.1").unwrap();
        assert!(admit("192.0.2.1").is_err());
        drop(first);
        let _third = admit("192.0.2.1").unwrap();
        let (one, two) = (admit("2001:db8::1").unwrap(), admit("2001:db8::2").unwrap());
        assert!(admit("2001:db8::3").is_err(), "a /64 is one sender");
        assert!(admit("2001:db8:0:1::3").is_ok());
        drop((one, two));
        assert_eq!(admission.open.lock().unwrap().len(), 1);
    }

    #[test]
    fn without_a_limit_nothing_is_counted() {
        let admission = Admission::new(0);
        assert!(admission.admit("192.0.2.1".parse().unwrap()).unwrap().is_none());
    }
}
