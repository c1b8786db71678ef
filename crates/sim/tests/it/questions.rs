//! Requests and frames that are kept, because they say what can be said or because
//! they once went wrong, are answered in words, one by one and several in a row.

use crate::asked::Asked;
use wire::Fault;

#[test]
fn requests() {
    for (corpus, most) in [
        (include_str!("../corpus/json.txt"), 3),
        (include_str!("../corpus/ec2.txt"), 8),
        (include_str!("../corpus/iam.txt"), 3),
    ] {
        let refused = corpus.lines().flat_map(|line| Asked::ask(line.as_bytes()).refused);
        let refused: Vec<Fault> = refused.collect();
        assert!(refused.len() <= most, "not all dead on arrival: {refused:#?}");
        let lines: Vec<&str> = corpus.lines().collect();
        for several in lines.windows(6) {
            Asked::ask(several.join("\n").as_bytes());
        }
    }
}

#[test]
fn frames() {
    let lines: Vec<&str> = include_str!("../corpus/frames.txt").lines().collect();
    for several in lines.windows(2) {
        Asked::hear(several.join("\n").as_bytes());
    }
}
