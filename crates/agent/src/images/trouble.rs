//! Why an image cannot be had: what its owner is told, and whether to try again.

use crate::engine::{Failure, FailureKind};
use crate::netns::Place;
use crate::runtime::Error;
use oci_client::errors::{DigestError, OciDistributionError, OciErrorCode};
use oci_client::secrets::RegistryAuth;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Further tries after a failure that may be passing, and the first pause.
const RETRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(1100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Why an image could not be pulled.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The registry, or the way to it.
    #[error("pulling {image} failed")]
    #[allow(missing_docs)]
    Registry { image: String, source: Box<OciDistributionError> },
    /// The registry sent something other than what it announced.
    #[error("{image} is not what its registry says: {problem}")]
    #[allow(missing_docs)]
    Content { image: String, problem: String },
    /// The registry does not speak TLS, or does not prove who it is.
    #[error("pulling {image} failed: {problem}. {advice}")]
    #[allow(missing_docs)]
    Tls { image: String, problem: String, advice: String },
    /// The certificates that are to vouch for the registry cannot be read.
    #[error("the certificates in {place} cannot be used: {problem}")]
    #[allow(missing_docs)]
    Certificates { place: String, problem: String },
    /// The registry does not let us.
    #[error("{problem}. {advice}")]
    #[allow(missing_docs)]
    Denied { problem: String, advice: String },
    /// The logins for registries cannot be read.
    #[error("the logins in {} cannot be used", path.display())]
    #[allow(missing_docs)]
    Logins {
        path: PathBuf,
        #[source]
        problem: io::Error,
    },
    /// What a tag leads to cannot be had.
    #[error(transparent)]
    Manifest(Box<Self>),
    /// The task's network, through which it was to come, cannot be entered.
    #[error("the network of the task cannot be entered")]
    Place(#[source] io::Error),
    /// Our own store.
    #[error("the image cannot be stored")]
    Store(#[source] Error),
}

/// What kind of trouble a registry makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// It does not let us.
    Denied,
    /// It has no such thing.
    Missing,
    /// It cannot be reached, or the line to it broke.
    Unreachable,
    /// It is there, but has too much to do.
    Busy,
    Other,
}

impl PullError {
    /// What a registry answered, or what came of asking it.
    pub(super) fn answer(image: &str, source: OciDistributionError) -> Self {
        let image = image.to_owned();
        if let OciDistributionError::DigestError(mismatch) = source {
            return Self::Content { image, problem: mismatch.to_string() };
        }
        Self::Registry { image, source: Box::new(source) }
    }

    /// The same, if it is that we are not let in: in the words of Docker, and with what can
    /// be done about it.
    pub(super) fn denied_to(self, who: &RegistryAuth, advice: &str) -> Self {
        let Self::Registry { image, source } = &self else { return self };
        if self.trouble() != Trouble::Denied {
            return self;
        }
        let problem = match who {
            RegistryAuth::Basic(user, _) => format!("pulling {image} failed: {user} is refused"),
            RegistryAuth::Anonymous | RegistryAuth::Bearer(_) => format!(
                "pull access denied for {image}, repository does not exist or may require \
                 'docker login'"
            ),
        };
        let cause = crate::error::chain(&**source);
        let cause = cause.trim_end_matches(['.', '\n', ' ']);
        Self::Denied { problem: format!("{problem}: {cause}"), advice: advice.to_owned() }
    }

    /// What went wrong while a blob came in.
    pub(super) fn stream(image: &str, error: Error) -> Self {
        let Error::Io { source, what, path } = error else {
            return match Self::refused(&error) {
                Some(problem) => Self::Content { image: image.to_owned(), problem },
                None => Self::Store(error),
            };
        };
        let inner = source.get_ref();
        if let Some(mismatch) = inner.and_then(|inner| inner.downcast_ref::<DigestError>()) {
            return Self::Content { image: image.to_owned(), problem: mismatch.to_string() };
        }
        if source.kind() == io::ErrorKind::InvalidData {
            return Self::Content { image: image.to_owned(), problem: source.to_string() };
        }
        if what != super::blob::RECEIVE {
            return Self::Store(Error::Io { what, path, source });
        }
        // A stream that breaks is the network's fault, not the store's.
        let source = Box::new(OciDistributionError::IoError(source));
        Self::Registry { image: image.to_owned(), source }
    }

    /// What containerd says of bytes that are not those it was told to expect.
    fn refused(error: &Error) -> Option<String> {
        let problem = error.message();
        let names = ["unexpected commit digest", "unexpected commit size"];
        names.iter().any(|name| problem.contains(name)).then_some(problem)
    }

    #[allow(clippy::wildcard_enum_match_arm)] // The library's own list grows.
    fn trouble(&self) -> Trouble {
        let source = match self {
            Self::Registry { source, .. } => source,
            Self::Manifest(error) => return error.trouble(),
            Self::Denied { .. } => return Trouble::Denied,
            _ => return Trouble::Other,
        };
        match &**source {
            // The library keeps what a server of tokens wrote, but not its status.
            OciDistributionError::AuthenticationFailure(text) if is_out_of_order(text) => {
                Trouble::Busy
            }
            OciDistributionError::UnauthorizedError { .. }
            | OciDistributionError::AuthenticationFailure(_) => Trouble::Denied,
            OciDistributionError::ImageManifestNotFoundError(_) => Trouble::Missing,
            OciDistributionError::RegistryError { envelope, .. } => {
                let has = |codes: &[OciErrorCode]| {
                    envelope.errors.iter().any(|error| codes.contains(&error.code))
                };
                if has(&[OciErrorCode::Denied, OciErrorCode::Unauthorized]) {
                    Trouble::Denied
                } else if has(&[
                    OciErrorCode::ManifestUnknown,
                    OciErrorCode::NameUnknown,
                    OciErrorCode::BlobUnknown,
                    OciErrorCode::NotFound,
                ]) {
                    Trouble::Missing
                } else if has(&[OciErrorCode::Toomanyrequests]) {
                    Trouble::Busy
                } else {
                    Trouble::Other
                }
            }
            OciDistributionError::ServerError { code, .. } => match code {
                401 | 403 => Trouble::Denied,
                404 => Trouble::Missing,
                // Too slow, too often, or out of order: all of it may pass.
                408 | 429 | 500.. => Trouble::Busy,
                _ => Trouble::Other,
            },
            OciDistributionError::RequestError(_) | OciDistributionError::IoError(_) => {
                Trouble::Unreachable
            }
            _ => Trouble::Other,
        }
    }

    /// Whether it may be over soon.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Registry { .. } => {
                matches!(self.trouble(), Trouble::Unreachable | Trouble::Busy)
            }
            // Whoever wrote it before has only just been told to stop.
            Self::Store(error) => super::blob::is_locked(error),
            Self::Manifest(error) => error.is_passing(),
            // Who does not prove who it is will not in a second either.
            Self::Tls { .. }
            | Self::Certificates { .. }
            | Self::Denied { .. }
            | Self::Logins { .. }
            | Self::Content { .. }
            | Self::Place(_) => false,
        }
    }

    /// Whether containerd went away meanwhile.
    pub fn is_lost(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_lost())
    }

    /// Whether something that was here is gone: a lease that ended, or what it covered.
    pub(super) fn is_collected(&self) -> bool {
        matches!(self, Self::Store(error) if super::blob::is_collected(error))
    }

    /// Whether there was no room for it.
    pub(super) fn is_full(&self) -> bool {
        matches!(self, Self::Store(error) if super::garbage::is_full(error))
    }

    /// What the task's owner is told, in the words that go with `place`: on the machine
    /// it is Docker that pulls, and what a tag leads to is asked for in a step of its own;
    /// Fargate, which pulls by the task's network, has no name for that. A login that
    /// cannot be had is an error of its own, and one that is refused is like any answer.
    ///
    /// `CannotPullECRContainerError`, a token of ECR that an execution role cannot have,
    /// does not occur: there is no ECR here, and logins for one elsewhere are the machine's.
    pub fn failure(&self, place: &Place) -> Failure {
        if let (Self::Manifest(_), Place::Host) = (self, place) {
            let text = format!("Error response from daemon: {}", crate::error::chain(self));
            return Failure::new(FailureKind::PullManifest, text);
        }
        if let Self::Logins { .. } = self {
            return Failure::new(FailureKind::PullAuth, crate::error::chain(self));
        }
        // AWS's own, each where the official agent gives it: that of roles to those whom
        // ECR refuses, and none to those whose password is wrong.
        let text = crate::error::chain(self);
        let advice = match self.trouble() {
            Trouble::Denied if text.contains("ecr:BatchGetImage") => {
                "The task can’t pull the image. Check that the role has the permissions to pull \
                 images from the registry. "
            }
            Trouble::Denied if text.starts_with("pull access denied") => {
                "The task can’t pull the image. Check whether the image exists. "
            }
            Trouble::Missing => "The task can’t pull the image. Check whether the image exists. ",
            Trouble::Unreachable => {
                "The task can’t pull the image. Check your network configuration. "
            }
            Trouble::Denied | Trouble::Busy | Trouble::Other => "",
        };
        Failure::new(FailureKind::Pull, format!("{advice}{text}"))
    }
}

/// Whether a server says that it is unable, rather than unwilling.
fn is_out_of_order(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let signs = [
        "toomanyrequests",
        "too many requests",
        "internal server error",
        "bad gateway",
        "unavailable",
        "gateway time-out",
        "gateway timeout",
    ];
    signs.iter().any(|sign| text.contains(sign))
}

/// How often a failure that may pass is borne, and how long one waits for it to.
#[derive(Debug)]
pub(super) struct Patience {
    left: u32,
    pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { left: RETRIES, pause: PAUSE }
    }
}

impl Patience {
    /// Waits, if `error` may pass and it is not the last straw; gives it back otherwise.
    pub(super) async fn bear(&mut self, image: &str, error: PullError) -> Result<(), PullError> {
        if !error.is_passing() || self.left == 0 {
            return Err(error);
        }
        tracing::debug!(image, error = crate::error::chain(&error), "trying again");
        self.left -= 1;
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(code: u16) -> PullError {
        let url = String::new();
        let source = OciDistributionError::ServerError { code, url, message: String::new() };
        PullError::Registry { image: "i".to_owned(), source: Box::new(source) }
    }

    #[test]
    fn what_may_pass_is_tried_again_and_nothing_else() {
        for code in [408, 429, 500, 502, 503, 504] {
            assert!(answer(code).is_passing(), "{code}");
        }
        for code in [400, 401, 403, 404, 405, 416] {
            assert!(!answer(code).is_passing(), "{code}");
        }
    }

    #[test]
    fn a_server_of_tokens_that_is_out_of_order_may_recover() {
        let answer = |text: &str| {
            let source = OciDistributionError::AuthenticationFailure(text.to_owned());
            PullError::answer("i", source)
        };
        for text in ["<h1>503 Service Temporarily Unavailable</h1>", "Too Many Requests\n"] {
            assert!(answer(text).is_passing(), "{text}");
        }
        for text in ["", r#"{"details": "incorrect username or password"}"#] {
            assert!(!answer(text).is_passing(), "{text}");
        }
    }

    #[test]
    fn advice_is_aws_own() {
        let told = |error: PullError| error.failure(&Place::Host).to_string();
        let starts = "CannotPullContainerError: The task can’t pull the image. Check ";
        let denied = |who: &RegistryAuth| told(answer(401).denied_to(who, "Do this"));
        let nobody = denied(&RegistryAuth::Anonymous);
        let begins = format!("{starts}whether the image exists. pull access denied for i, repos");
        assert!(nobody.starts_with(&begins) && nobody.ends_with(". Do this"), "{nobody}");
        let somebody = denied(&RegistryAuth::Basic("u".into(), "secret".into()));
        let begins = "CannotPullContainerError: pulling i failed: u is refused: Server error: ";
        assert!(somebody.starts_with(begins) && !somebody.contains("secret"), "{somebody}");
        let message = "User: x is not authorized to perform: ecr:BatchGetImage on".to_owned();
        let ecr = OciDistributionError::ServerError { code: 403, url: String::new(), message };
        let ecr = told(PullError::answer("i", ecr).denied_to(&RegistryAuth::Anonymous, ""));
        assert!(ecr.starts_with(&format!("{starts}that the role has the perm")), "{ecr}");
        assert!(told(answer(404)).starts_with(&format!("{starts}whether the image exists. ")));
        let cut = OciDistributionError::IoError(io::ErrorKind::ConnectionReset.into());
        let cut = PullError::answer("i", cut);
        assert!(told(cut).starts_with(&format!("{starts}your network configuration. ")));
        for busy in [429, 503] {
            assert!(told(answer(busy)).starts_with("CannotPullContainerError: pulling i failed"));
        }
        let other = PullError::Content { image: "i".to_owned(), problem: "p".to_owned() };
        let plain = "CannotPullContainerError: i is not what its registry says: p";
        assert_eq!(told(other), plain);
        // What a tag leads to has a name of its own, but on Fargate.
        let unknown = || PullError::Manifest(Box::new(answer(404)));
        let begins = "CannotPullImageManifestError: Error response from daemon: pulling i failed: ";
        assert!(told(unknown()).starts_with(begins), "{}", told(unknown()));
        let (namespace, resolv_conf) = ("/n".into(), String::new());
        let there = unknown().failure(&Place::Task { namespace, resolv_conf }).to_string();
        assert!(there.starts_with(&format!("{starts}whether the image exists. ")), "{there}");
        assert!(PullError::Manifest(Box::new(answer(503))).is_passing());
    }

    #[test]
    fn bytes_that_are_not_those_announced_are_no_network_trouble() {
        let mismatch = DigestError::VerificationError { expected: "a".into(), actual: "b".into() };
        let wrong = Error::io(super::super::blob::RECEIVE, "x")(io::Error::other(mismatch));
        assert!(matches!(PullError::stream("i", wrong), PullError::Content { .. }));
        let cut = Error::io(super::super::blob::RECEIVE, "x")(io::ErrorKind::UnexpectedEof.into());
        assert!(PullError::stream("i", cut).is_passing());
        let full = Error::io("write", "x")(io::ErrorKind::StorageFull.into());
        assert!(!PullError::stream("i", full).is_passing());
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends() {
        let mut patience = Patience::default();
        let mut borne = 0;
        while patience.bear("i", answer(503)).await.is_ok() {
            borne += 1;
        }
        assert_eq!(borne, RETRIES);
        assert!(Patience::default().bear("i", answer(404)).await.is_err());
    }
}
