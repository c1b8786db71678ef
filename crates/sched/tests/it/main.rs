//! The query language as its users see it: texts in, refusals in words.

mod trial;

use proptest::prelude::*;
use trial::understood;

#[test]
fn what_is_kept_is_understood() {
    let kept: Vec<&str> = include_str!("../corpus/query.txt").lines().collect();
    let sound = kept.iter().filter(|text| understood(text)).count();
    assert!(sound >= 30, "only {sound} are expressions");
    for (text, other) in kept.iter().zip(kept.iter().skip(1)) {
        understood(&format!("{text} and not ({other})"));
    }
}

proptest! {
    #[test]
    fn no_text_is_too_strange(text in "\\PC{0,60}") {
        understood(&text);
    }

    #[test]
    fn nearly_sound_texts_are_no_trouble(
        words in proptest::collection::vec(prop_oneof![
            Just("attribute:a"), Just("task:group"), Just("runningTasksCount"), Just("=="),
            Just("!in"), Just("=~"), Just("["), Just("]"), Just(","), Just("("), Just(")"),
            Just("!"), Just("and"), Just("||"), Just("'"), Just("é"), Just("7"), Just("a*"),
        ], 0..24)
    ) {
        understood(&words.join(" "));
    }
}
