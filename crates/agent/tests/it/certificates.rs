//! Registries that have to prove who they are.

use crate::line::{Fault, Line};
use crate::machine::{Machine, unique};
use crate::pulls::{NO_MANIFEST, does_not_run, runs};
use crate::registry::{Registry, openssl};
use agent::engine::RegistryLogin;
use agent::images::PullBehavior;
use std::fs;
use std::path::{Path, PathBuf};

/// An address of the machine that is not the machine itself, as images call it.
const HOST: &str = "10.98.0.1";
const UNKNOWN: &str = "tls: failed to verify certificate: x509: certificate signed by unknown \
                       authority. ";

/// A certificate and its key.
struct Pair {
    certificate: PathBuf,
    key: PathBuf,
}

impl Pair {
    /// One for this address, of an authority or not, signed by another or by itself.
    fn new(machine: &Machine, address: &str, is_authority: bool, by: Option<&Self>) -> Self {
        let stem = unique("pair");
        let pair = Self {
            certificate: machine.path(&format!("{stem}.pem")),
            key: machine.path(&format!("{stem}.key")),
        };
        // Nothing but what is said here.
        let config = machine.path("openssl.cnf");
        fs::write(&config, "[req]\ndistinguished_name = name\n[name]\n").expect("written");
        let (name, constraint) = (
            format!("subjectAltName=IP:{address}"),
            format!("basicConstraints=critical,CA:{}", if is_authority { "TRUE" } else { "FALSE" }),
        );
        let subject = format!("/CN={stem}");
        let mut files: Vec<(&str, &Path)> =
            vec![("-config", &config), ("-keyout", &pair.key), ("-out", &pair.certificate)];
        if let Some(by) = by {
            files.extend([("-CA", by.certificate.as_path()), ("-CAkey", by.key.as_path())]);
        }
        let words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30"];
        let more = ["-subj", &subject, "-addext", &name, "-addext", &constraint];
        openssl(&[&words[..], &more[..]].concat(), &files);
        pair
    }

    async fn serves(&self, machine: &Machine) -> Registry {
        Registry::with_tls(machine, &self.certificate, &self.key).await
    }
}

/// A machine whose operator can put certificates into a directory.
fn machine() -> (Machine, PathBuf) {
    let mut machine = Machine::new();
    machine.config.image_pull_behavior = PullBehavior::Always;
    let dirs = [machine.path("certs.d"), machine.path("other.d")];
    machine.config.registries.certificates = dirs.to_vec();
    let [first, _] = dirs;
    // The link comes and goes with the machine.
    machine.eni(HOST, "10.98.0.2");
    (machine, first)
}

fn puts(dir: &Path, registry: &str, certificate: &Path) {
    fs::create_dir_all(dir.join(registry)).expect("made");
    fs::copy(certificate, dir.join(registry).join("ca.crt")).expect("copied");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_authority_is_believed_when_the_operator_says_so() {
    let (machine, certs) = machine();
    let [right, wrong] = [(); 2].map(|()| Pair::new(&machine, HOST, true, None));
    let registry = Pair::new(&machine, HOST, false, Some(&right)).serves(&machine).await;
    registry.push(&machine, "team/app:1", &[]);
    let line = Line::to(&registry, HOST, Fault::None).await;
    let name = format!("{HOST}:{}", line.port);
    let image = format!("{name}/team/app:1");
    let nobody = RegistryLogin::Anonymous;
    let mut agent = machine.agent().await;

    // Nobody here knows who signed it. To ask again would not change that.
    let reason = does_not_run(&mut agent, &image, &nobody).await;
    assert!(reason.starts_with(NO_MANIFEST), "{reason}");
    let place = certs.join(&name).join("ca.crt");
    let advice = format!(
        "Get \"https://{name}/v2/\": {UNKNOWN}Put the certificate of the authority that signed \
         it into {}, or into the store of this machine",
        place.display()
    );
    assert!(reason.ends_with(&advice), "{reason}");
    let pinned = format!("{name}/team/app@sha256:{}", "0".repeat(64));
    let reason = does_not_run(&mut agent, &pinned, &nobody).await;
    let begins = format!("CannotPullContainerError: pulling {pinned} failed: Get ");
    assert!(reason.starts_with(&begins) && reason.contains(UNKNOWN), "{reason}");
    assert_eq!(line.callers().len(), 2, "each has asked once");

    puts(&certs, &name, &wrong.certificate);
    let reason = does_not_run(&mut agent, &image, &nobody).await;
    assert!(reason.contains(UNKNOWN), "{reason}");
    fs::write(&place, "no certificate").expect("written");
    let reason = does_not_run(&mut agent, &image, &nobody).await;
    let unusable = format!(
        "CannotPullContainerError: the certificates in {} cannot be used: ",
        place.display()
    );
    assert!(reason.starts_with(&unusable), "{reason}");

    // The agent is not told; it looks. Docker's directory and containerd's add up.
    puts(&certs, &name, &wrong.certificate);
    puts(&machine.path("other.d"), &name, &right.certificate);
    runs(&mut agent, &image, &nobody).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_of_this_machine_speaks_tls_once_it_has_a_certificate() {
    let (machine, certs) = machine();
    // As Docker's own manual makes one, but for the constraint.
    let own = Pair::new(&machine, "127.0.0.1", false, None);
    let registry = own.serves(&machine).await;
    let image = registry.push(&machine, "team/app:1", &[]);
    let nobody = RegistryLogin::Anonymous;
    let mut agent = machine.agent().await;
    let reason = does_not_run(&mut agent, &image, &nobody).await;
    assert!(reason.contains("HTTP request to an HTTPS server"), "{reason}");
    puts(&certs, &registry.name(), &own.certificate);
    runs(&mut agent, &image, &nobody).await;

    // It is called by a name that it cannot prove.
    let line = Line::to(&registry, HOST, Fault::None).await;
    let name = format!("{HOST}:{}", line.port);
    puts(&certs, &name, &own.certificate);
    let reason = does_not_run(&mut agent, &format!("{name}/team/app:1"), &nobody).await;
    assert!(reason.contains("x509: certificate not valid for name \"10.98.0.1\""), "{reason}");
    assert!(reason.ends_with("as a subject alternative name"), "{reason}");

    // An authority's certificate is no registry's.
    let own = Pair::new(&machine, "127.0.0.1", true, None);
    let registry = own.serves(&machine).await;
    puts(&certs, &registry.name(), &own.certificate);
    let reason = does_not_run(&mut agent, &format!("{}/app:1", registry.name()), &nobody).await;
    assert!(reason.ends_with("(basicConstraints CA:FALSE)"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_without_tls_has_to_be_named() {
    let (machine, _) = machine();
    let registry = Registry::start(&machine).await;
    let line = Line::to(&registry, HOST, Fault::None).await;
    let name = format!("{HOST}:{}", line.port);
    let mut agent = machine.agent().await;
    let nobody = RegistryLogin::Anonymous;
    let reason = does_not_run(&mut agent, &format!("{name}/app:1"), &nobody).await;
    assert!(reason.contains("http: server gave HTTP response to HTTPS client. "), "{reason}");
    assert!(reason.ends_with(&format!("--insecure-registry {name}")), "{reason}");
    assert_eq!(line.callers().len(), 1);
}
