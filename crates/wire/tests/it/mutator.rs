//! Requests after an accident: of bytes, which finds what parsers do with nonsense,
//! and of fields, which gets past the parsers and finds what is done with sense.

use serde_json::{Map, Value, json};

/// What parsers have tripped over before.
const WORDS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    "\"",
    ":",
    ",",
    "null",
    "true",
    "-1",
    "0",
    "1e400",
    "99999999999999999999",
    "\\ud800",
    "\\u0000",
    "\u{feff}",
    "&",
    "=",
    "%",
    "%00",
    "%ff",
    "+",
    ".",
    ".1.",
    ".0.",
    ".-1.",
    ".4294967296.",
    ".member.",
    ".entry.1.key",
    "/",
    ";",
    " ",
    "\r\n",
    "\u{1f980}",
    "NaN",
];

/// Bytes that are no text.
const BROKEN: &[&[u8]] =
    &[b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\x80", b"\x00"];

/// Values that are of the right kind somewhere, and seldom where they are put.
fn oddities() -> [Value; 14] {
    [
        Value::Null,
        json!(true),
        json!(0),
        json!(-1),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(1e308),
        json!(0.1),
        json!(""),
        json!("\u{0}\u{1f980}\u{feff}"),
        json!("x".repeat(70_000)),
        json!([]),
        json!({}),
        json!([[[[[{}]]]]]),
    ]
}

/// A random number generator: SplitMix64.
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let bound = u64::try_from(bound.max(1)).expect("small");
        usize::try_from((z ^ (z >> 31)) % bound).expect("below a usize")
    }

    pub(crate) fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }
}

/// `seed` after a few accidents to its bytes.
pub(crate) fn of_bytes(chance: &mut Chance, seed: &[u8], others: &[&str]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=chance.below(4) {
        let at = chance.below(bytes.len() + 1);
        let end = (at + chance.below(20)).min(bytes.len());
        match chance.below(8) {
            0 if at < bytes.len() => bytes[at] ^= 1 << chance.below(8),
            1 => drop(bytes.drain(at..end)),
            2 => bytes.splice(at..at, chance.pick(WORDS).bytes()).for_each(drop),
            3 => bytes.splice(at..end, chance.pick(WORDS).bytes()).for_each(drop),
            4 => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again).for_each(drop);
            }
            5 => {
                let other = chance.pick(others).as_bytes();
                bytes.truncate(at);
                bytes.extend_from_slice(&other[chance.below(other.len())..]);
            }
            6 => bytes.splice(at..at, chance.pick(BROKEN).iter().copied()).for_each(drop),
            _ => {
                let word = chance.pick(WORDS).repeat(1 << chance.below(9));
                bytes.splice(at..at, word.into_bytes()).for_each(drop);
            }
        }
    }
    bytes
}

/// The JSON in `seed` after a few accidents to its fields, which may be those of
/// another request. Still JSON, if perhaps with a key that is there twice.
pub(crate) fn of_json(chance: &mut Chance, seed: &str, others: &[&str]) -> Option<Vec<u8>> {
    let mut value: Value = serde_json::from_str(seed).ok()?;
    for _ in 0..=chance.below(3) {
        let other = serde_json::from_str(chance.pick(others)).unwrap_or(Value::Null);
        let graft = match chance.below(3) {
            0 => oddities()[chance.below(14)].clone(),
            1 => place(&mut other.clone(), chance).clone(),
            _ => place(&mut value, chance).clone(),
        };
        let place = place(&mut value, chance);
        match chance.below(4) {
            0 => *place = graft,
            1 => *place = json!([place.clone(), graft]),
            2 => (0..1 << chance.below(8)).for_each(|_| *place = json!([place.take()])),
            _ => match place {
                Value::Object(object) => {
                    let from = other.as_object().cloned().unwrap_or_default();
                    let key = from.keys().nth(chance.below(from.len())).cloned();
                    object.insert(key.unwrap_or_else(|| "__type".into()), graft);
                }
                Value::Array(items) => items.resize(items.len() + (1 << chance.below(10)), graft),
                scalar @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
                    *scalar = graft;
                }
            },
        }
    }
    let text = value.to_string();
    if chance.below(8) > 0 {
        return Some(text.into_bytes());
    }
    // serde's maps have each key once; the wire need not.
    let fields: Map<String, Value> = value.as_object()?.clone();
    let (key, again) = fields.iter().nth(chance.below(fields.len()))?;
    let field = Value::Object(Map::from_iter([(key.clone(), again.clone())])).to_string();
    let inner = field.strip_prefix('{')?.strip_suffix('}')?;
    Some(format!("{{{inner},{}", text.strip_prefix('{')?).into_bytes())
}

/// Some value within `value`.
fn place<'a>(value: &'a mut Value, chance: &mut Chance) -> &'a mut Value {
    let leaf = match &*value {
        Value::Array(items) => items.is_empty(),
        Value::Object(object) => object.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    };
    if leaf || chance.below(4) == 0 {
        return value;
    }
    let mut inner: Vec<&mut Value> = if value.is_array() {
        value.as_array_mut().into_iter().flatten().collect()
    } else {
        value.as_object_mut().into_iter().flat_map(|object| object.values_mut()).collect()
    };
    let at = chance.below(inner.len());
    place(inner.swap_remove(at), chance)
}

/// The form in `seed` after a few accidents to its parameters.
pub(crate) fn of_form(chance: &mut Chance, seed: &str, others: &[&str]) -> Vec<u8> {
    let mut fields: Vec<String> = seed.split('&').map(str::to_owned).collect();
    for _ in 0..=chance.below(3) {
        let at = chance.below(fields.len());
        let other: Vec<&str> = chance.pick(others).split('&').collect();
        let (name, value) = fields[at].split_once('=').unwrap_or((&fields[at], ""));
        let (name, value) = (name.to_owned(), value.to_owned());
        match chance.below(9) {
            0 => fields.push(fields[at].clone()),
            1 => fields.push(chance.pick(&other).to_owned()),
            2 => fields.push(format!("{name}={}", chance.pick(WORDS))),
            3 => fields.push(format!("{name}.{}={value}", chance.below(4))),
            4 => {
                let number = ["0", "-1", "01", "+1", "4294967295", "4294967296", "1e9", "", "x"];
                let parts: Vec<&str> = name.split('.').collect();
                let swapped = chance.below(parts.len());
                let number = chance.pick(&number);
                let parts = parts.iter().enumerate();
                let parts: Vec<&str> =
                    parts.map(|(at, part)| if at == swapped { number } else { part }).collect();
                fields[at] = format!("{}={value}", parts.join("."));
            }
            5 => fields[at] = format!("{name}{}={value}", ".1".repeat(1 << chance.below(10))),
            6 => {
                // Escapes where none are needed, in the name as well.
                let escape = |text: &str| {
                    let bytes: Vec<String> =
                        text.bytes().map(|byte| format!("%{byte:02x}")).collect();
                    bytes.concat()
                };
                fields[at] = format!("{}={}", escape(&name), escape(&value));
            }
            7 => {
                let many = 1 << chance.below(11);
                fields.extend((1..=many).map(|number| format!("{name}.{number}={value}")));
            }
            _ => drop(fields.remove(at)),
        }
        if fields.is_empty() {
            break;
        }
    }
    fields.join("&").into_bytes()
}
