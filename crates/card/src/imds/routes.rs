//! What becomes of a request. No network, no clock.

use super::tokens::{LONGEST, Tokens};
use super::tree::{Found, Leaf, Tree};
use http::header::{FORWARDED, HOST, ORIGIN};
use http::{HeaderMap, Method, StatusCode};
use std::net::IpAddr;
use std::time::Duration;

/// How a client says how long its token is to be good, in seconds, and how it is told.
pub(crate) const TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";
/// The token.
const TOKEN: &str = "x-aws-ec2-metadata-token";
const FORWARDED_FOR: &str = "x-forwarded-for";

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// There is this; of a token also for how long it is good.
    Found(String, Option<u64>),
    /// The credentials of the machine's role.
    Credentials,
    /// It is refused.
    Refused(StatusCode),
}

/// Weighs a request; `now` is the time since the start.
pub(crate) fn judge(
    tree: &Tree,
    tokens: &Tokens,
    now: Duration,
    (method, path): (&Method, &str),
    headers: &HeaderMap,
) -> Verdict {
    let refused = Verdict::Refused;
    // What comes by way of somebody else, a proxy or a web page in a browser, does not
    // come from the machine. A page that has led its own name here is told by that name.
    let by_others = [FORWARDED_FOR, FORWARDED.as_str(), ORIGIN.as_str()];
    if by_others.iter().any(|name| headers.contains_key(*name)) || !is_address(headers) {
        return refused(StatusCode::FORBIDDEN);
    }
    let Some((version, path)) = split(path) else {
        return match (method, has_token(tokens, now, headers)) {
            (&Method::GET | &Method::HEAD, true) => Verdict::Found("latest".to_owned(), None),
            (&Method::GET | &Method::HEAD, false) => refused(StatusCode::UNAUTHORIZED),
            _ => refused(StatusCode::METHOD_NOT_ALLOWED),
        };
    };
    if path == "api/token" && version == "latest" {
        return match *method {
            Method::PUT => match seconds(headers) {
                Some(seconds) => Verdict::Found(tokens.issue(seconds, now), Some(seconds)),
                None => refused(StatusCode::BAD_REQUEST),
            },
            _ => refused(StatusCode::METHOD_NOT_ALLOWED),
        };
    }
    if !matches!(*method, Method::GET | Method::HEAD) {
        return refused(StatusCode::METHOD_NOT_ALLOWED);
    }
    if !has_token(tokens, now, headers) {
        return refused(StatusCode::UNAUTHORIZED);
    }
    let known = version == "latest" || is_date(version);
    match tree.find(path).filter(|_| known) {
        Some(Found::Leaf(Leaf::Text(text))) => Verdict::Found(text.clone(), None),
        Some(Found::Leaf(Leaf::Credentials)) => Verdict::Credentials,
        Some(Found::List(names)) => Verdict::Found(names, None),
        None => refused(StatusCode::NOT_FOUND),
    }
}

/// A path's version and the rest; nothing if it has neither.
fn split(path: &str) -> Option<(&str, &str)> {
    let path = path.strip_prefix('/').unwrap_or(path);
    if path.is_empty() {
        return None;
    }
    Some(path.split_once('/').unwrap_or((path, "")))
}

/// Versions were days once; all of them say the same here.
fn is_date(version: &str) -> bool {
    let has_form = |(at, byte): (usize, u8)| match at {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    };
    version.len() == 10 && version.bytes().enumerate().all(has_form)
}

/// Whether it is an address that was asked, and not a name.
fn is_address(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST) else { return true };
    let Ok(host) = host.to_str() else { return false };
    let host = match host.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        Some(_) | None => host,
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok()
}

fn seconds(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(TTL)?.to_str().ok()?;
    text.parse().ok().filter(|seconds| (1..=LONGEST).contains(seconds))
}

fn has_token(tokens: &Tokens, now: Duration, headers: &HeaderMap) -> bool {
    let token = headers.get(TOKEN).and_then(|token| token.to_str().ok());
    token.is_some_and(|token| tokens.left(token, now).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scene {
        tree: Tree,
        tokens: Tokens,
        token: String,
    }

    fn scene() -> Scene {
        let mut tree = Tree::default();
        tree.put("meta-data/instance-id", "i-1");
        tree.put_credentials("meta-data/iam/security-credentials/role");
        let tokens = Tokens::new(&[1; 32]);
        let token = tokens.issue(60, Duration::ZERO);
        Scene { tree, tokens, token }
    }

    impl Scene {
        fn ask(&self, now: u64, line: &str, headers: &[(&'static str, &str)]) -> Verdict {
            let (method, path) = line.split_once(' ').expect("a method and a path");
            let method: Method = method.parse().expect("a method");
            let header = |(name, value): &(&'static str, &str)| {
                let value = if *value == "TOKEN" { &self.token } else { *value };
                (name.parse().expect("a name"), value.parse().expect("a value"))
            };
            let headers: HeaderMap = headers.iter().map(header).collect();
            let now = Duration::from_secs(now);
            judge(&self.tree, &self.tokens, now, (&method, path), &headers)
        }
    }

    #[test]
    fn nothing_is_told_without_a_token() {
        let scene = scene();
        let token: &[(&str, &str)] = &[(TOKEN, "TOKEN")];
        let refused = |code| Verdict::Refused(StatusCode::from_u16(code).expect("a status"));
        let found = |text: &str| Verdict::Found(text.to_owned(), None);
        let id = "GET /latest/meta-data/instance-id";
        for (now, line, headers, expected) in [
            (0, id, token, found("i-1")),
            (59, id, token, found("i-1")),
            (60, id, token, refused(401)),
            (0, id, &[], refused(401)),
            (0, id, &[(TOKEN, "wrong")], refused(401)),
            (0, id, &[(TOKEN, "")], refused(401)),
            (0, "HEAD /latest/meta-data/instance-id", token, found("i-1")),
            (0, "GET /2021-07-15/meta-data/instance-id", token, found("i-1")),
            (0, "GET /2021-7-15/meta-data/instance-id", token, refused(404)),
            (0, "GET /latest/meta-data/", token, found("iam/\ninstance-id")),
            (0, "GET /latest", token, found("meta-data/")),
            (0, "GET /", token, found("latest")),
            (0, "GET /", &[], refused(401)),
            (0, "GET /latest/user-data", token, refused(404)),
            (0, "GET /latest/user-data", &[], refused(401)),
            (0, "POST /latest/meta-data/instance-id", token, refused(405)),
            (0, "OPTIONS /latest/meta-data/instance-id", &[], refused(405)),
            (0, "GET /latest/meta-data/iam/security-credentials/role", token, Verdict::Credentials),
            (0, "GET /latest/meta-data/iam/security-credentials/", token, found("role")),
            (0, "GET /latest/meta-data/iam/security-credentials/other", token, refused(404)),
        ] {
            assert_eq!(scene.ask(now, line, headers), expected, "{now} {line} {headers:?}");
        }
    }

    #[test]
    fn a_token_is_given_to_who_says_for_how_long() {
        let scene = scene();
        let refused = |code| Verdict::Refused(StatusCode::from_u16(code).expect("a status"));
        let put = "PUT /latest/api/token";
        for (ttl, good) in [
            ("1", true),
            ("21600", true),
            ("0", false),
            ("21601", false),
            ("-1", false),
            ("1.5", false),
            ("", false),
            ("x", false),
        ] {
            let verdict = scene.ask(0, put, &[(TTL, ttl)]);
            if let Verdict::Found(token, Some(seconds)) = verdict {
                assert!(good, "{ttl}");
                assert_eq!(seconds.to_string(), ttl);
                assert_eq!(scene.tokens.left(&token, Duration::ZERO), Some(seconds));
            } else {
                assert_eq!((verdict, good), (refused(400), false), "{ttl}");
            }
        }
        assert_eq!(scene.ask(0, put, &[]), refused(400));
        let ttl = (TTL, "60");
        assert_eq!(scene.ask(0, "GET /latest/api/token", &[ttl]), refused(405));
        assert_eq!(scene.ask(0, "PUT /latest/meta-data/", &[ttl]), refused(405));
        assert_eq!(scene.ask(0, "PUT /2021-07-15/api/token", &[ttl]), refused(405));
    }

    #[test]
    fn who_comes_by_way_of_others_is_refused() {
        let scene = scene();
        let forbidden = Verdict::Refused(StatusCode::FORBIDDEN);
        for (name, value, is_refused) in [
            ("x-forwarded-for", "192.0.2.1", true),
            ("x-forwarded-for", "", true),
            ("forwarded", "for=192.0.2.1", true),
            ("origin", "http://web.example", true),
            ("host", "web.example:80", true),
            ("host", "web.example", true),
            ("host", "1.example", true),
            ("host", "169.254.169.254", false),
            ("host", "127.0.0.1:51680", false),
            ("host", "[fd00:ec2::254]", false),
            ("host", "[::1]:51680", false),
            ("host", "localhost:51680", false),
        ] {
            for (line, own) in [
                ("PUT /latest/api/token", (TTL, "60")),
                ("GET /latest/meta-data/instance-id", (TOKEN, "TOKEN")),
            ] {
                let verdict = scene.ask(0, line, &[own, (name, value)]);
                assert_eq!(verdict == forbidden, is_refused, "{line} {name}: {value}");
            }
        }
    }
}
