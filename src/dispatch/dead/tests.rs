use super::*;
use crate::backend::Reason;
use crate::event::Envelope;
use crate::telemetry::Metrics;

fn stored(sequence: u64) -> Stored {
    let envelope = Envelope { id: "e".into(), is_json: true, body: "{\"a\": 1.0}\n".into(), ..Envelope::default() };
    let envelope = Envelope { digest_at_receipt: Some(envelope.body_sha256()), ..envelope };
    Stored { sequence, time_ms: 0, envelope, json: None }
}

fn id(text: &str) -> Id {
    text.parse().unwrap()
}

struct Letters {
    dir: tempfile::TempDir,
    letters: DeadLetters,
    metrics: Metrics,
}

impl Letters {
    fn new() -> Self {
        let (dir, metrics) = (tempfile::tempdir().unwrap(), Metrics::default());
        Self { letters: DeadLetters::new(dir.path(), &metrics.dead_letters), dir, metrics }
    }

    fn keep(&self, text: &str) -> &Self {
        let id = id(text);
        let why = Failure::new(Reason::TooLarge, "2 MiB");
        self.letters.keep(&id.backend, &stored(id.number), &why, 1, 5).unwrap();
        self
    }

    fn page(&self, query: Query) -> (Vec<String>, Option<String>) {
        let page = self.letters.page(&Query { limit: query.limit.max(1), ..query }).unwrap();
        (page.letters.into_iter().map(|letter| letter.id).collect(), page.next.map(|next| next.to_string()))
    }

    #[track_caller]
    fn counts(&self, backend: &str, wanted: i64) {
        assert_eq!(self.metrics.dead_letters.get_or_create(&metrics::backend(backend)).get(), wanted);
    }
}

#[test]
fn a_letter_keeps_the_event_and_the_reason_once() {
    let letters = Letters::new();
    letters.keep("main-7").keep("main-7");
    let letter = letters.letters.get(&id("main-7")).unwrap().unwrap();
    assert_eq!((letter.attempts, letter.reason.as_str(), letter.replaying), (1, "too_large", Some(false)));
    assert_eq!(letter.stored().unwrap(), stored(7));
    letters.counts("main", 1);
    assert!(letters.letters.get(&id("main-8")).unwrap().is_none());
}

#[test]
fn a_letter_that_is_refused_again_has_an_attempt_more_unless_it_was_dropped() {
    let letters = Letters::new();
    letters.keep("main-7");
    let (id, why) = (id("main-7"), Failure::new(Reason::Invalid, "still"));
    letters.letters.refused_again(&id, &stored(7), &why, 9, true).unwrap();
    let letter = letters.letters.get(&id).unwrap().unwrap();
    assert_eq!((letter.attempts, letter.detail.as_str(), letter.time_ms), (2, "still", 9));
    assert!(letters.letters.remove(&id).unwrap());
    assert!(!letters.letters.remove(&id).unwrap());
    letters.letters.refused_again(&id, &stored(7), &why, 9, true).unwrap();
    letters.counts("main", 0);
    assert!(letters.letters.get(&id).unwrap().is_none());
}

#[test]
fn pages_follow_each_other_in_either_order() {
    let letters = Letters::new();
    letters.keep("main-7").keep("main-30").keep("a-b-7").keep("a-b-100");
    let all = |newest_first| {
        let (mut after, mut found) = (None, Vec::new());
        loop {
            let (ids, next) = letters.page(Query { after, newest_first, ..Query::default() });
            found.extend(ids);
            match next {
                Some(next) => after = Some(id(&next)),
                None => return found,
            }
        }
    };
    assert_eq!(all(false), ["a-b-7", "main-7", "main-30", "a-b-100"]);
    assert_eq!(all(true), ["a-b-100", "main-30", "main-7", "a-b-7"]);
    let backend = Some("main".parse().unwrap());
    assert_eq!(
        letters.page(Query { backend, limit: 9, ..Query::default() }),
        (vec!["main-7".into(), "main-30".into()], None)
    );
}

#[test]
fn a_damaged_or_foreign_file_is_reported_and_hides_no_letter() {
    let letters = Letters::new();
    letters.keep("main-7").keep("main-8").keep("main-9").keep("main-10");
    let dir = letters.dir.path().join("dead/main");
    let path = |number| dir.join(files::name(number, "json"));
    std::fs::write(path(8), b"{\"id\":").unwrap();
    std::fs::copy(path(7), path(9)).unwrap();
    std::fs::write(path(10), std::fs::read_to_string(path(10)).unwrap().replace("\"event\"", "\"evnt\"")).unwrap();
    std::fs::write(dir.join("notes.txt"), "mine").unwrap();
    std::fs::create_dir(letters.dir.path().join("dead/No Backend")).unwrap();
    std::fs::create_dir(path(11)).unwrap();
    let page = letters.letters.page(&Query { limit: 10, ..Query::default() }).unwrap();
    assert_eq!(page.letters.len(), 1);
    let mut files: Vec<_> = page.unreadable.iter().map(|found| found.file.as_str()).collect();
    files.sort_unstable();
    let wanted = [8, 9, 10, 11].map(|number| format!("main/{}", files::name(number, "json")));
    assert_eq!(files, ["No Backend", &wanted[0], &wanted[1], &wanted[2], &wanted[3], "main/notes.txt"]);
    assert!(matches!(letters.letters.get(&id("main-8")), Err(LetterError::Damaged(_))));
    assert!(letters.letters.mark(&id("main-8")).is_err(), "what cannot be read cannot be published");
    assert!(letters.letters.remove(&id("main-8")).unwrap(), "but it can be dropped");
}

#[test]
fn a_mark_is_found_by_the_next_process_and_goes_with_its_letter() {
    let letters = Letters::new();
    letters.keep("main-7").keep("main-8").keep("old-9");
    assert!(letters.letters.mark(&id("main-8")).unwrap());
    assert!(letters.letters.mark(&id("main-8")).unwrap());
    assert!(!letters.letters.mark(&id("main-9")).unwrap());
    assert_eq!(letters.letters.get(&id("main-8")).unwrap().unwrap().replaying, Some(true));
    std::fs::write(letters.dir.path().join("dead/main").join(files::name(5, "replay")), "").unwrap();
    std::fs::write(letters.dir.path().join("dead/main").join(files::name(6, "tmp")), "torn").unwrap();

    let metrics = Metrics::default();
    let next = DeadLetters::new(letters.dir.path(), &metrics.dead_letters);
    let marked = next.open(&[]).unwrap();
    assert_eq!(marked[&"main".parse().unwrap()], [8], "a mark without its letter goes");
    assert_eq!(metrics.dead_letters.get_or_create(&metrics::backend("main")).get(), 2);
    assert_eq!(metrics.dead_letters.get_or_create(&metrics::backend("old")).get(), 1);
    assert_eq!(files::names(&letters.dir.path().join("dead/main")).unwrap().len(), 3);
    next.unmark(&id("main-8")).unwrap();
    assert!(next.open(&[]).unwrap()[&"main".parse().unwrap()].is_empty());
}

#[test]
fn a_backend_whose_letters_cannot_be_read_hides_the_marks_of_no_other() {
    let letters = Letters::new();
    letters.keep("a-7").keep("main-8");
    for marked in ["a-7", "main-8"] {
        assert!(letters.letters.mark(&id(marked)).unwrap());
    }
    // A leftover that cannot be removed.
    std::fs::create_dir(letters.dir.path().join("dead/a").join(files::name(6, "tmp"))).unwrap();
    let marked = letters.letters.open(&[]).unwrap();
    assert_eq!(marked.into_iter().collect::<Vec<_>>(), [("main".parse().unwrap(), vec![8])]);
}
