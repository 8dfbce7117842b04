//! Challenges that a sender encrypts.

use aws_lc_rs::cipher::{AES_256, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::Digest as _;

use crate::event::Secret;

/// Bytes of the initialisation vector.
const IV: usize = 16;

/// What `text` holds: Base64 of an initialisation vector, and behind it what AES-256-CBC with PKCS #7 padding makes under
/// the SHA-256 digest of `secret`. Nothing vouches for it.
pub fn decrypt(secret: &Secret, text: &str) -> Option<Vec<u8>> {
    let bytes = STANDARD.decode(text).ok()?;
    let (iv, content) = bytes.split_at_checked(IV)?;
    let key = UnboundCipherKey::new(&AES_256, &sha2::Sha256::digest(secret.expose())).ok()?;
    let context = DecryptionContext::Iv128(FixedLength::from(<[u8; IV]>::try_from(iv).ok()?));
    let mut content = content.to_vec();
    let plain = PaddedBlockDecryptingKey::cbc_pkcs7(key).ok()?.decrypt(&mut content, context).ok()?;
    Some(plain.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `openssl enc -aes-256-cbc -K $(printf test-key | sha256sum) -iv 000102…0f`, behind the vector.
    const MADE: &str = "AAECAwQFBgcICQoLDA0OD04igQbjavCcLBUv5NdDyb81vMrpm0tV5H7ZJ6ugrUMD91Z4ZsAFBxb7x9dUNsbLWQ==";

    fn open(text: &str, secret: &str) -> Option<String> {
        decrypt(&Secret::new(secret.into()).unwrap(), text).and_then(|plain| String::from_utf8(plain).ok())
    }

    #[test]
    fn what_another_program_encrypted_is_read_with_its_key_alone() {
        assert_eq!(open(MADE, "test-key").as_deref(), Some(r#"{"challenge":"c","type":"url_verification"}"#));
        assert_eq!(open(MADE, "test-kez"), None);
        for text in ["", "AAAA", "no base64!", &MADE[..MADE.len() - 4], &STANDARD.encode([0; 16])] {
            assert_eq!(open(text, "test-key"), None, "{text}");
        }
    }
}
