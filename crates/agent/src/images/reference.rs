//! What the name of an image says: where it is, what it is called there, and which one.
//!
//! Docker's grammar, with Docker's meaning of what is left out. The library that knows
//! registries can read names too, by a regular expression that takes 23 MiB: half of what
//! an agent may have altogether. Our tests compare the two.

use oci_client::Reference;

const HUB: &str = "docker.io";
const OLD_HUB: &str = "index.docker.io";
/// In what the Hub has names of one part.
const OFFICIAL: &str = "library";
const LATEST: &str = "latest";
const LONGEST_REPOSITORY: usize = 255;
const LONGEST_TAG: usize = 128;
/// Algorithms of digests, with the length of what they give in hexadecimal.
const DIGESTS: [(&str, usize); 3] = [("sha256", 64), ("sha384", 96), ("sha512", 128)];

/// Reads a name. What is wrong with it is said in Docker's words.
pub(super) fn read(name: &str) -> Result<Reference, String> {
    let invalid = || "invalid reference format".to_owned();
    let (rest, digest) = match name.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (name, None),
    };
    // A colon before a slash is that of a port.
    let (path, tag) = match rest.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
        _ => (rest, None),
    };
    let (registry, repository) = match path.split_once('/') {
        Some((host, repository)) if is_host_like(host) => (host, repository),
        _ => (HUB, path),
    };
    let registry = if registry == OLD_HUB { HUB } else { registry };
    let repository = match repository {
        one if registry == HUB && !one.contains('/') => format!("{OFFICIAL}/{one}"),
        path => path.to_owned(),
    };
    if is_repository(&repository.to_ascii_lowercase()) && !is_repository(&repository) {
        return Err(format!("{}: repository name ({repository}) must be lowercase", invalid()));
    }
    let is_valid = is_host(registry)
        && is_repository(&repository)
        && tag.is_none_or(is_tag)
        && digest.is_none_or(is_digest);
    if !is_valid {
        return Err(invalid());
    }
    if repository.len() > LONGEST_REPOSITORY {
        let limit = LONGEST_REPOSITORY;
        return Err(format!("repository name must not be more than {limit} characters"));
    }
    let registry = registry.to_owned();
    Ok(match (tag, digest.map(str::to_owned)) {
        (Some(tag), Some(digest)) => {
            Reference::with_tag_and_digest(registry, repository, tag.to_owned(), digest)
        }
        (None, Some(digest)) => Reference::with_digest(registry, repository, digest),
        (tag, None) => Reference::with_tag(registry, repository, tag.unwrap_or(LATEST).to_owned()),
    })
}

/// Whether what comes before the first slash is a host, rather than somebody at the Hub.
fn is_host_like(part: &str) -> bool {
    part.contains(['.', ':'])
        || part == "localhost"
        || part.contains(|c: char| c.is_ascii_uppercase())
}

/// A name or an address, the one of IPv6 in brackets, and perhaps a port.
fn is_host(host: &str) -> bool {
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|c| c.is_ascii_digit());
    if let Some((address, port)) = host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        let is_address = address.bytes().all(|c| c.is_ascii_hexdigit() || c == b':');
        let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return is_address && !address.is_empty() && is_port;
    }
    let (name, port) = match host.split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (host, None),
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-')
    };
    name.split('.').all(is_label) && port.is_none_or(is_port)
}

/// Parts between slashes: words of small letters and digits with a dot, one or two
/// underscores, or dashes between them.
fn is_repository(path: &str) -> bool {
    let is_word = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    path.split('/').all(|part| {
        let bytes = part.as_bytes();
        let mut separators = bytes.split(|c| is_word(*c)).filter(|between| !between.is_empty());
        let is_separator = |between: &[u8]| {
            matches!(between, b"." | b"_" | b"__") || between.iter().all(|c| *c == b'-')
        };
        bytes.first().is_some_and(|c| is_word(*c))
            && bytes.last().is_some_and(|c| is_word(*c))
            && separators.all(is_separator)
    })
}

fn is_tag(tag: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (1..=LONGEST_TAG).contains(&tag.len())
        && tag.starts_with(is_word)
        && tag.chars().all(|c| is_word(c) || matches!(c, '.' | '-'))
}

fn is_digest(digest: &str) -> bool {
    let is_hex = |c: u8| matches!(c, b'0'..=b'9' | b'a'..=b'f');
    digest.split_once(':').is_some_and(|(algorithm, value)| {
        DIGESTS.contains(&(algorithm, value.len())) && value.bytes().all(is_hex)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn whole(name: &str) -> Result<String, String> {
        read(name).map(|reference| reference.whole())
    }

    #[test]
    fn what_is_left_out_is_as_docker_has_it() {
        let digest = format!("sha256:{}", "0f".repeat(32));
        let pinned = format!("busybox@{digest}");
        let both = format!("quay.io/a/b:1@{digest}");
        for (name, meant) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("busybox:1.36", "docker.io/library/busybox:1.36"),
            ("a/b", "docker.io/a/b:latest"),
            ("index.docker.io/busybox", "docker.io/library/busybox:latest"),
            ("test.com:5000", "docker.io/library/test.com:5000"),
            ("localhost/a", "localhost/a:latest"),
            ("localhost:5000/a/b:c", "localhost:5000/a/b:c"),
            ("host:5000/a", "host:5000/a:latest"),
            ("Host/a", "Host/a:latest"),
            ("[::1]:5000/a", "[::1]:5000/a:latest"),
            ("xn--n3h.com/my__image-----x.y:_1", "xn--n3h.com/my__image-----x.y:_1"),
            (&pinned, &format!("docker.io/library/{pinned}")),
            (&both, &both),
        ] {
            assert_eq!(whole(name).as_deref(), Ok(meant), "{name}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused_in_dockers_words() {
        let hex = "a".repeat(63);
        for name in [
            "",
            ":",
            "/",
            "a/",
            "/a",
            "a//b",
            "a:",
            ":1",
            "a@",
            "-a",
            "a-",
            "a___b",
            "a..b",
            "a b",
            "a:-b",
            "a:b:c",
            "http://a/b",
            "a.b:c/d",
            "a.-b/c",
            "[::1/a",
            "[]/a",
            "ä",
            "a:ä",
            "a@sha256:aa",
            "a@md5:d41d8cd98f00b204e9800998ecf8427e",
            "a@b@c",
            "localhost:/a",
        ] {
            assert_eq!(whole(name), Err("invalid reference format".to_owned()), "{name}");
        }
        for hex in [format!("{hex}A"), format!("{hex}g"), hex] {
            assert!(whole(&format!("a@sha256:{hex}")).is_err(), "{hex}");
        }
        let upper = "invalid reference format: repository name (library/Web) must be lowercase";
        assert_eq!(whole("Web:1"), Err(upper.to_owned()));
        assert!(whole(&format!("a:{}", "t".repeat(128))).is_ok());
        assert!(whole(&format!("a:{}", "t".repeat(129))).is_err());
        assert!(whole(&format!("h.io/{}", "r".repeat(255))).is_ok());
        assert!(whole(&format!("h.io/{}", "r".repeat(256))).is_err());
    }

    /// Names, and what is nearly one.
    fn names() -> impl Strategy<Value = String> {
        let digest = prop_oneof![Just(String::new()), Just(format!("@sha256:{}", "1a".repeat(32)))];
        let structured = (
            "([a-c.-]{1,5}(:[0-9a]{0,3})?/)?",
            "[a-c0/._-]{1,12}",
            "(:[a-cA-C0._-]{0,4})?",
            digest,
        )
            .prop_map(|(host, path, tag, digest)| format!("{host}{path}{tag}{digest}"));
        prop_oneof![structured, "[ab0./:@_-]{0,14}"]
    }

    proptest! {
        /// The library takes a host with an underscore for one.
        #[test]
        fn a_name_means_what_it_means_to_the_library(name in names()) {
            let theirs = name.parse::<Reference>().map(|reference| reference.whole());
            let host = name.split('/').next().unwrap_or_default();
            match (whole(&name), theirs) {
                (Ok(ours), theirs) => prop_assert_eq!(Ok(ours), theirs),
                (Err(_), Ok(theirs)) => prop_assert!(host.contains('_'), "{}", theirs),
                (Err(_), Err(_)) => {}
            }
        }
    }
}
