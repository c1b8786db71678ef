//! What is tried, and how what is tried next is made. Both are those of the bounded
//! tests: the trials say what must hold, the mutator knows JSON and forms, and here
//! they are given to libFuzzer, which keeps whatever reaches new code.

// The bounded tests look at more than whether all is well.
#[allow(dead_code)]
#[path = "../../crates/sim/tests/it/asked.rs"]
mod asked;
#[allow(dead_code)]
#[path = "../../crates/wire/tests/it/mutator.rs"]
mod mutator;
#[allow(dead_code)]
#[path = "../../crates/sched/tests/it/trial.rs"]
mod query;
#[allow(dead_code)]
#[path = "../../crates/wire/tests/it/trials.rs"]
mod trials;

use asked::Asked;
use libfuzzer_sys::fuzzer_mutate;
use mutator::{Chance, of_form, of_json};

/// Requests in JSON, a line each, first to the codec and then to the services.
pub fn json(lines: &[u8]) {
    for line in lines.split(|byte| *byte == b'\n') {
        let (target, body) = trials::in_two(line);
        drop(trials::json(target, body));
    }
    Asked::ask(lines);
}

/// Requests as forms, a line each, first to the codec and then to the services.
pub fn forms(lines: &[u8]) {
    for line in lines.split(|byte| *byte == b'\n') {
        drop(trials::form(line));
    }
    Asked::ask(lines);
}

/// A signature in its header.
pub fn signature(line: &[u8]) {
    trials::authorization(line);
}

/// A signature in the query.
pub fn presigned(line: &[u8]) {
    trials::presigned(line);
}

/// A body in chunks.
pub fn chunked(line: &[u8]) {
    drop(trials::chunked(line));
}

/// Frames of an agent, a line each, first to the codecs and then to the sessions.
pub fn frames(lines: &[u8]) {
    for line in lines.split(|byte| *byte == b'\n') {
        trials::frame(line);
    }
    Asked::hear(lines);
}

/// An expression of the cluster query language.
pub fn query(text: &[u8]) {
    query::understood(&String::from_utf8_lossy(text));
}

/// What lines are changed into.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A target, a space and JSON.
    Json,
    /// A form.
    Form,
    /// JSON alone.
    Frame,
}

/// Changes `data`, of which `size` bytes are used, in place, and says how many it then
/// has: every other time as libFuzzer would, otherwise by what the lines mean. `kept`
/// are lines that others may be made of.
pub fn change(kind: Kind, kept: &str, data: &mut [u8], size: usize, seed: u32) -> usize {
    let most = data.len();
    let mut chance = Chance(seed.into());
    if chance.below(2) == 0 {
        return fuzzer_mutate(data, size, most);
    }
    let kept: Vec<&str> = kept.lines().collect();
    let text = String::from_utf8_lossy(&data[..size]).into_owned();
    let mut lines: Vec<String> = text.split('\n').map(str::to_owned).collect();
    let at = chance.below(lines.len());
    match chance.below(6) {
        0 => lines.insert(at, chance.pick(&kept).to_owned()),
        1 if lines.len() > 1 => drop(lines.remove(at)),
        2 => lines.push(lines[at].clone()),
        _ => {
            let Some(changed) = changed(kind, &kept, &lines[at], &mut chance) else {
                return fuzzer_mutate(data, size, most);
            };
            lines[at] = changed;
        }
    }
    let changed = lines.join("\n").into_bytes();
    if changed.len() > most {
        return fuzzer_mutate(data, size, most);
    }
    data[..changed.len()].copy_from_slice(&changed);
    changed.len()
}

fn changed(kind: Kind, kept: &[&str], line: &str, chance: &mut Chance) -> Option<String> {
    let bytes = match kind {
        Kind::Form => of_form(chance, line, kept),
        Kind::Frame => of_json(chance, line, kept)?,
        Kind::Json => {
            let bodies: Vec<&str> =
                kept.iter().filter_map(|it| Some(it.split_once(' ')?.1)).collect();
            let (target, body) = line.split_once(' ')?;
            let body = of_json(chance, body, &bodies)?;
            [target.as_bytes(), b" ", &body].concat()
        }
    };
    String::from_utf8(bytes).ok()
}
