//! How this machine has its images: options of `landfall up`.

use agent::engine::PullFrom;
use agent::images::{Limits, PullBehavior, Registries};
use clap::Args;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// See the module. The first words of each comment are its help.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Images")]
pub(crate) struct Images {
    /// When a registry is asked for an image: `default` (always; what is here will do
    /// if that fails), `always` (and the task fails if that fails), `once` per image,
    /// or `prefer-cached` (if it is not here).
    #[arg(long, value_name = "WHEN", default_value = "prefer-cached")]
    image_pull_behavior: PullBehavior,
    /// From where the images of `awsvpc` tasks are pulled: `host`, as on EC2, or `task`,
    /// through the task's own network interface, as on Fargate since platform version
    /// 1.4.0: its security groups decide.
    #[arg(long, value_name = "WHERE", default_value = "host")]
    pub(crate) pull_from: PullFrom,
    /// Ask MIRROR before REGISTRY, such as docker.io=mirror.example:5000; several in
    /// their order, and then the registry itself.
    #[arg(long = "registry-mirror", value_name = "REGISTRY=MIRROR", value_parser = mirror)]
    mirrors: Vec<(String, String)>,
    /// A registry, or mirror, that is spoken to without TLS, such as 10.0.0.5:5000.
    /// Those on this machine are anyway, but for those that have a certificate.
    #[arg(long = "insecure-registry", value_name = "HOST:PORT", value_parser = registry)]
    insecure: Vec<String>,
    /// A directory with the certificates of private authorities, as Docker and
    /// containerd lay it out: DIR/HOST:PORT/ca.crt may vouch for that registry, beside
    /// what this machine trusts; may be repeated. They are read at each pull.
    #[arg(long = "registry-certs", value_name = "DIR", value_parser = path,
          default_values = ["/etc/docker/certs.d", "/etc/containerd/certs.d"])]
    certificates: Vec<PathBuf>,
    /// A file of logins for registries, as `docker login` writes it, such as
    /// /root/.docker/config.json. It is read at each pull.
    #[arg(long = "registry-auth", value_name = "FILE", value_parser = path)]
    logins: Option<PathBuf>,
    /// How long nobody must have used an image for it to be removed.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = crate::cli::time)]
    image_minimum_age: Duration,
    /// How often such images are looked for; at least 1m.
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = interval)]
    image_cleanup_interval: Duration,
    /// How many of them are removed at a time; 0 for none.
    #[arg(long = "images-per-cleanup", value_name = "COUNT", default_value_t = 5)]
    per_cleanup: usize,
    /// Above which fill of the disk images are removed that no task uses, whatever
    /// their age, those first that were used the longest ago; 100 for never.
    #[arg(long, value_name = "PERCENT", default_value_t = 85,
          value_parser = clap::value_parser!(u8).range(1..=100))]
    disk_full: u8,
    /// Until which fill; no more than the other.
    #[arg(long, value_name = "PERCENT", default_value_t = 80,
          value_parser = clap::value_parser!(u8).range(0..=100))]
    disk_relieved: u8,
}

impl Images {
    /// The configuration of an agent that does so.
    pub(crate) fn apply(&self, config: agent::Config) -> agent::Config {
        let mut mirrors: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (registry, mirror) in &self.mirrors {
            mirrors.entry(registry.clone()).or_default().push(mirror.clone());
        }
        agent::Config {
            image_pull_behavior: self.image_pull_behavior,
            registries: Registries {
                insecure: self.insecure.clone(),
                certificates: self.certificates.clone(),
                logins: self.logins.clone(),
                mirrors,
                ..Registries::default()
            },
            image_limits: Limits {
                interval: self.image_cleanup_interval,
                minimum_age: self.image_minimum_age,
                per_cycle: self.per_cleanup,
                full: self.disk_full,
                relieved: self.disk_relieved.min(self.disk_full),
                ..Limits::default()
            },
            ..config
        }
    }

    /// What says the same on another command line.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![
            format!("--image-pull-behavior={}", self.image_pull_behavior),
            format!("--pull-from={}", self.pull_from),
            format!("--image-minimum-age={}s", self.image_minimum_age.as_secs()),
            format!("--image-cleanup-interval={}s", self.image_cleanup_interval.as_secs()),
            format!("--images-per-cleanup={}", self.per_cleanup),
            format!("--disk-full={}", self.disk_full),
            format!("--disk-relieved={}", self.disk_relieved),
        ];
        let mirrors = self.mirrors.iter();
        arguments.extend(mirrors.map(|(of, mirror)| format!("--registry-mirror={of}={mirror}")));
        arguments.extend(self.insecure.iter().map(|name| format!("--insecure-registry={name}")));
        let certificates = self.certificates.iter();
        arguments.extend(certificates.map(|dir| format!("--registry-certs={}", dir.display())));
        let logins = self.logins.iter();
        arguments.extend(logins.map(|file| format!("--registry-auth={}", file.display())));
        arguments
    }
}

/// A registry as references name it: a host, and perhaps a port.
fn registry(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
    if text.is_empty() || !text.chars().all(plain) {
        return Err("give a host and perhaps a port, such as registry.example:5000".to_owned());
    }
    Ok(text.to_owned())
}

fn mirror(text: &str) -> Result<(String, String), String> {
    let (of, mirror) = text.split_once('=').ok_or("give REGISTRY=MIRROR")?;
    Ok((registry(of)?, registry(mirror)?))
}

/// A path that means the same wherever the program stands.
fn path(text: &str) -> Result<PathBuf, String> {
    std::path::absolute(text).map_err(|error| error.to_string())
}

fn interval(text: &str) -> Result<Duration, String> {
    crate::cli::at_least_a_minute(text, "give 1m at least")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        images: Images,
    }

    fn parsed(options: &[&str]) -> Option<Images> {
        let line = ["landfall"].iter().chain(options);
        Line::try_parse_from(line).ok().map(|line| line.images)
    }

    #[test]
    fn what_is_said_once_is_said_to_the_program_that_stays() {
        let options = [
            "--image-pull-behavior=once",
            "--pull-from=task",
            "--image-minimum-age=7200s",
            "--image-cleanup-interval=600s",
            "--images-per-cleanup=0",
            "--disk-full=90",
            "--disk-relieved=60",
            "--registry-mirror=docker.io=a.example:5000",
            "--registry-mirror=docker.io=b.example",
            "--insecure-registry=a.example:5000",
            "--registry-certs=/a",
            "--registry-certs=/b",
            "--registry-auth=/c.json",
        ];
        let images = parsed(&options).expect("valid");
        assert_eq!(images.arguments(), options);
        assert!(parsed(&[]).is_some_and(|images| {
            parsed(&images.arguments().iter().map(String::as_str).collect::<Vec<_>>()).is_some()
        }));
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            "--image-pull-behavior=never",
            "--pull-from=mars",
            "--image-cleanup-interval=59s",
            "--disk-full=101",
            "--registry-mirror=docker.io",
            "--registry-mirror=docker.io=http://a.example",
            "--insecure-registry=",
            "--registry-certs=",
        ] {
            assert!(parsed(&[bad]).is_none(), "{bad}");
        }
    }
}
