//! Configurations in TOML, YAML and JSON: mistakes are told, never a crash.
#![no_main]

use hookferry::config::{self, Vars};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((kind, text)) = data.split_first() else { return };
    // A secret or a schema may be any file of the machine: only files of this folder are meant. The secret is the environment's.
    if text.windows(5).any(|w| w == b"file:" || w == b"/dev/" || w == b"/proc" || w == b"s3cre") {
        return;
    }
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let file = dir.path().join(["a.toml", "a.yaml", "a.json"][usize::from(*kind) % 3]);
    std::fs::write(&file, text).unwrap();
    match config::load(&[file], &Vars::from([("SECRET".to_owned(), "s3cret".to_owned())])) {
        Ok(config) => drop(hookferry::cli::check::describe(&config)),
        Err(errors) => assert!(!errors.to_string().contains("s3cret")),
    }
});
