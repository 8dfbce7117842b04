use arc_swap::ArcSwap;

use super::super::slot::STRANGE_EACH;
use super::*;
use crate::verify::{Rule, Spec};

const KEY: &[u8] = br#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
const URL: &str = "https://bank.example.com/0";

/// A keeper with keys from so many URLs, all proven.
fn keeper(proven: usize) -> Keeper {
    let spec = "kind = 'truelayer'\nkeys = { allow = ['https://bank.example.com/*'] }";
    let rule = Rule::new(toml::from_str::<Spec>(spec).unwrap()).unwrap();
    let mut keys = rule.keys(&[]).unwrap();
    for n in 0..proven {
        let url = format!("https://bank.example.com/{n}");
        keys = rule.with_fetched(&keys, &url, KEY, 0).unwrap().proven_by(&url);
    }
    let shared = Shared { name: "bank".parse().unwrap(), rule, keys: ArcSwap::from_pointee(keys) };
    let store = Store::new("/nowhere".as_ref(), "bank");
    Keeper::new(Arc::new(shared), Vec::new(), mpsc::channel(1).1, Client::new().unwrap(), store)
}

fn proven(keeper: &Keeper) -> usize {
    let keys = keeper.shared.keys.load();
    keys.urls().filter(|url| keys.are_proven(url)).count()
}

#[test]
fn a_bounded_number_of_urls_is_proven_and_one_that_gave_way_is_again_once_it_is_named() {
    let mut keeper = keeper(100);
    assert_eq!(proven(&keeper), 64);
    assert!(!keeper.shared.keys.load().are_proven(URL), "the first of them has given way");
    assert!(keeper.shared.keys.load().urls().any(|url| url == URL), "its keys are still there");
    keeper.proven(URL);
    assert!(keeper.shared.keys.load().are_proven(URL));
    assert_eq!(proven(&keeper), 64);
    keeper.forget(URL);
    assert_eq!(proven(&keeper), 63);
}

#[test]
fn keys_are_renewed_a_few_at_a_time() {
    let mut keeper = keeper(10);
    keeper.refresh();
    assert_eq!(keeper.work.len(), RENEWALS);
    keeper.refresh();
    assert_eq!(keeper.work.len(), RENEWALS, "they are still on their way");
    keeper.renewals -= 1;
    keeper.refresh();
    assert_eq!(keeper.work.len(), RENEWALS + 1, "the next one has its turn");
    assert_eq!(proven(&keeper), 10);
}

/// Has a URL that does not answer named once a second; how often it was asked.
fn asked(keeper: &mut Keeper, by: u64, times: usize) -> usize {
    let mut asked = 0;
    for _ in 0..times {
        keeper.key(URL, Some(by), oneshot::channel().0);
        if keeper.slots.get(URL).is_some_and(|slot| slot.waiting.is_some()) {
            asked += 1;
            keeper.fetched(URL, Err(FetchError::Failed("no answer".to_owned())));
        }
        if let Some((_, at)) = keeper.slots.get_mut(URL).and_then(|slot| slot.last.as_mut()) {
            *at -= AGAIN;
        }
    }
    asked
}

#[test]
fn a_url_that_does_not_answer_is_asked_again_out_of_what_its_asker_has() {
    let mut stranger = keeper(0);
    assert_eq!(asked(&mut stranger, 1, 3 * STRANGE_EACH), STRANGE_EACH);
    assert_eq!(asked(&mut stranger, 2, 1), 1, "another address has its own");
    let mut sender = keeper(1);
    assert_eq!(asked(&mut sender, 1, 3 * STRANGE_EACH), 3 * STRANGE_EACH, "the sender's own is no stranger");
}
