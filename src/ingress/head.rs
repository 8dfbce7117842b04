//! The headers of a request, as they are read here.

use actix_web::http::header::HeaderMap;
use smallvec::SmallVec;

use crate::event::Headers;

/// Headers that are listed without a piece of memory of their own; requests have a dozen.
const LISTED: usize = 32;

/// Request headers as verification reads them: the first of them are listed once, since comparing names in a list costs
/// a fraction of hashing them, or of walking the map. Nothing grows with their count.
pub struct Head<'a> {
    listed: SmallVec<[(&'a str, &'a [u8]); LISTED]>,
    all: &'a HeaderMap,
}

impl<'a> Head<'a> {
    /// The head of a request.
    pub fn new(all: &'a HeaderMap) -> Self {
        Self { listed: entries(all).take(LISTED).collect(), all }
    }

    /// All of them, names in lower case, those of one name in their order.
    pub fn entries(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        // The map is walked in the same order each time.
        let more = (self.listed.len() == LISTED).then(|| entries(self.all).skip(LISTED));
        self.listed.iter().copied().chain(more.into_iter().flatten())
    }
}

fn entries(headers: &HeaderMap) -> impl Iterator<Item = (&str, &[u8])> {
    headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()))
}

impl Headers for Head<'_> {
    fn nth(&self, name: &str, n: usize) -> Option<&[u8]> {
        self.entries().filter(|(key, _)| *key == name).nth(n).map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn every_header_is_found_however_many_there_are() {
        for many in [1, LISTED - 1, LISTED, LISTED + 1, 3 * LISTED] {
            let mut map = HeaderMap::new();
            for n in 0..many {
                let name = HeaderName::try_from(format!("x-{n}")).unwrap();
                map.append(name.clone(), HeaderValue::from(n));
                map.append(name, HeaderValue::from(n + many));
            }
            let head = Head::new(&map);
            assert_eq!(head.entries().count(), 2 * many);
            for n in 0..many {
                let found = [0, 1, 2].map(|nth| head.nth(&format!("x-{n}"), nth).map(<[u8]>::to_vec));
                let text = |n: usize| Some(n.to_string().into_bytes());
                assert_eq!(found, [text(n), text(n + many), None]);
            }
        }
    }
}
