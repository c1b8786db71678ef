//! Whom a registry must prove to be, and what to say of one that does not.
//!
//! The machine's own store of certificates is trusted, as OpenSSL would find it:
//! `SSL_CERT_FILE`, `SSL_CERT_DIR`, or what the distribution keeps. Beside it, a
//! registry may have authorities of its own, in a directory as Docker and containerd lay
//! it out: `DIR/HOST:PORT/*.crt`. They are read for each pull, so none has to be
//! announced.
//!
//! Client certificates (`*.cert` with `*.key` there) are not shown to anybody: the
//! library through which we speak to registries takes none.

use super::trouble::PullError;
use oci_client::client::{Certificate, CertificateEncoding};
use oci_client::errors::OciDistributionError;
use std::error::Error as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The certificates of one registry.
#[derive(Debug)]
pub(super) struct Trust {
    /// Those of the authorities that may vouch for it, beside the machine's own. `None`
    /// if nobody has given it a directory.
    own: Option<Vec<Certificate>>,
    /// Where an operator would put one.
    place: Option<PathBuf>,
}

impl Trust {
    /// What `dirs` have for this registry, named as references name it.
    pub(super) fn of(dirs: &[PathBuf], registry: &str) -> Result<Self, PullError> {
        // A machine without a store would make the library panic, even for registries
        // without TLS.
        reqwest::Client::builder().build().map_err(|error| PullError::Certificates {
            place: "the store of this machine".to_owned(),
            problem: format!(
                "{}. Install the distribution's (ca-certificates), or name a file in \
                 SSL_CERT_FILE",
                crate::error::chain(&error)
            ),
        })?;
        let mut own = None;
        for dir in dirs {
            let dir = dir.join(registry);
            let found = read(&dir).map_err(|(path, problem)| PullError::Certificates {
                place: path.unwrap_or(dir).display().to_string(),
                problem: problem.to_string(),
            })?;
            if let Some(found) = found {
                own.get_or_insert_with(Vec::new).extend(found);
            }
        }
        let place = dirs.first().map(|dir| dir.join(registry).join("ca.crt"));
        Ok(Self { own, place })
    }

    /// Whether somebody has said who may vouch for it.
    pub(super) fn is_given(&self) -> bool {
        self.own.is_some()
    }

    /// Those of the authorities beside the machine's own.
    pub(super) fn authorities(&self) -> Vec<Certificate> {
        self.own.clone().unwrap_or_default()
    }

    /// What TLS has against a registry, in the words of Docker, and what can be done about
    /// it; `None` if the trouble is another.
    #[allow(clippy::wildcard_enum_match_arm)] // The library's own list grows.
    pub(super) fn objection(
        &self,
        image: &str,
        registry: &str,
        error: &OciDistributionError,
    ) -> Option<PullError> {
        let OciDistributionError::RequestError(request) = error else { return None };
        let (problem, advice) = match cause(request)? {
            rustls::Error::InvalidCertificate(reason) => {
                let (problem, advice) = self.mistrust(reason);
                let problem = format!("tls: failed to verify certificate: x509: {problem}");
                (problem, advice)
            }
            // It answers, though not in TLS.
            rustls::Error::InvalidMessage(_) => (
                "http: server gave HTTP response to HTTPS client".to_owned(),
                format!(
                    "A registry that is meant to have no TLS is named with \
                     --insecure-registry {registry}"
                ),
            ),
            rustls::Error::AlertReceived(alert) => (
                format!("remote error: tls: {alert:?}"),
                "If it wants to see a client certificate: none can be shown here".to_owned(),
            ),
            _ => return None,
        };
        let url = request.url().map(|url| format!("Get \"{url}\": ")).unwrap_or_default();
        let image = image.to_owned();
        Some(PullError::Tls { image, problem: format!("{url}{problem}"), advice })
    }

    #[allow(clippy::wildcard_enum_match_arm)] // The library's own list grows.
    fn mistrust(&self, reason: &rustls::CertificateError) -> (String, String) {
        use rustls::CertificateError::*;
        let plain = |problem: &str, advice: &str| (problem.to_owned(), advice.to_owned());
        match reason {
            UnknownIssuer => {
                let place = match &self.place {
                    Some(path) => format!("{}, or into ", path.display()),
                    None => String::new(),
                };
                let advice = format!(
                    "Put the certificate of the authority that signed it into {place}the \
                     store of this machine"
                );
                ("certificate signed by unknown authority".to_owned(), advice)
            }
            Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. } => plain(
                "certificate has expired or is not yet valid",
                "Renew it, or set the clock of this machine",
            ),
            NotValidForName | NotValidForNameContext { .. } => (
                reason.to_string(),
                "The registry needs one that has the name by which images call it as a subject \
                 alternative name"
                    .to_owned(),
            ),
            // Of whatever type, as the library has none for it.
            Other(other) if other.to_string().contains("CaUsedAsEndEntity") => plain(
                "the registry shows the certificate of an authority as its own",
                "It needs one that the authority has signed, or one that is no authority's \
                 (basicConstraints CA:FALSE)",
            ),
            _ => (reason.to_string(), "The registry needs another one".to_owned()),
        }
    }
}

/// The complaint of TLS that a request failed by.
fn cause(request: &reqwest::Error) -> Option<&rustls::Error> {
    let mut cause = request.source();
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // An error of input or output hides what it wraps from the chain.
        cause = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

type Unreadable = (Option<PathBuf>, io::Error);

/// The certificates of a directory: of each file that ends with `.crt`, all. `None` if
/// there is no such directory.
fn read(dir: &Path) -> Result<Option<Vec<Certificate>>, Unreadable> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err((None, error)),
    };
    let mut certificates = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| (None, error))?.path();
        if path.extension().is_none_or(|extension| extension != "crt") {
            continue;
        }
        let read = || {
            let data = fs::read(&path)?;
            check(&data)?;
            Ok(Certificate { encoding: CertificateEncoding::Pem, data })
        };
        certificates.push(read().map_err(|error| (Some(path.clone()), error))?);
    }
    Ok(Some(certificates))
}

/// Whether there are certificates in it, and nothing that looks like one and is none.
fn check(pem: &[u8]) -> io::Result<()> {
    let bad = |problem| io::Error::new(io::ErrorKind::InvalidData, problem);
    let certificates = reqwest::Certificate::from_pem_bundle(pem)
        .map_err(|error| bad(crate::error::chain(&error)))?;
    if certificates.is_empty() {
        return Err(bad("there is no certificate in it, in PEM".to_owned()));
    }
    let alone = reqwest::Client::builder().tls_certs_only(certificates).build();
    alone.map(drop).map_err(|error| bad(crate::error::chain(&error)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::CertificateError;

    #[test]
    fn what_tls_has_against_a_certificate_says_what_to_do() {
        let trust = Trust { own: None, place: Some("/certs/r:5000/ca.crt".into()) };
        let (problem, advice) = trust.mistrust(&CertificateError::UnknownIssuer);
        assert_eq!(problem, "certificate signed by unknown authority");
        assert!(advice.contains(" /certs/r:5000/ca.crt, or into the store of"), "{advice}");
        let (_, advice) =
            Trust { own: None, place: None }.mistrust(&CertificateError::UnknownIssuer);
        assert!(advice.ends_with("signed it into the store of this machine"), "{advice}");
        let (problem, advice) = trust.mistrust(&CertificateError::Expired);
        assert_eq!(problem, "certificate has expired or is not yet valid");
        assert!(advice.contains("clock"), "{advice}");
    }

    #[test]
    fn only_certificates_are_read_and_none_is_passed_over() {
        let dir = tempfile::tempdir().expect("a directory");
        let of = |registry: &str| Trust::of(&[dir.path().to_owned()], registry);
        assert!(!of("r:5000").expect("nothing is given").is_given());
        let own = dir.path().join("r:5000");
        fs::create_dir(&own).expect("made");
        for other in ["client.cert", "client.key", "hosts.toml"] {
            fs::write(own.join(other), "other").expect("written");
        }
        let trust = of("r:5000").expect("nothing is unreadable");
        assert!(trust.is_given() && trust.authorities().is_empty());
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for bad in ["", "no certificate", broken] {
            fs::write(own.join("ca.crt"), bad).expect("written");
            let error = of("r:5000").expect_err("unusable").to_string();
            assert!(error.contains("/r:5000/ca.crt cannot be used: "), "{error}");
        }
    }
}
