//! Registries for tests: Debian's `docker-registry`, with and without passwords, and
//! some that do not behave.

use crate::machine::{Machine, oci_archive, unique, which};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::json;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// For the user `user` with the password `right`.
const PASSWORDS: &str = "user:$2b$04$JYRte75eY9h6d7mAA09sfOvKjqhlxMPvYBaqIag.lFwLHQ3hP2I2G\n";

/// A registry that goes when it goes.
pub(crate) struct Registry {
    child: Child,
    port: u16,
    wants_password: bool,
}

impl Registry {
    pub(crate) async fn start(machine: &Machine) -> Self {
        Self::configured(machine, "", false).await
    }

    /// One that speaks TLS, with a certificate and its key.
    pub(crate) async fn with_tls(machine: &Machine, certificate: &Path, key: &Path) -> Self {
        let (certificate, key) = (certificate.display(), key.display());
        let tls = format!("  tls: {{certificate: {certificate}, key: {key}}}\n");
        Self::configured(machine, &tls, false).await
    }

    /// One that knows nobody but `user`, whose password is `right`.
    pub(crate) async fn with_password(machine: &Machine) -> Self {
        let path = machine.path("passwords");
        std::fs::write(&path, PASSWORDS).expect("passwords");
        let auth = format!("auth:\n  htpasswd: {{realm: test, path: {}}}\n", path.display());
        Self::configured(machine, &auth, true).await
    }

    /// One that believes what `tokens` say.
    pub(crate) async fn with_tokens(machine: &Machine, tokens: &TokenServer) -> Self {
        let auth = format!(
            "auth:\n  token: {{realm: 'http://127.0.0.1:{}/token', service: registry.test, \
             issuer: test, rootcertbundle: {}}}\n",
            tokens.server.port,
            tokens.certificate.display()
        );
        Self::configured(machine, &auth, true).await
    }

    /// One whose configuration ends with this: first more of `http`, if there is more.
    async fn configured(machine: &Machine, rest: &str, wants_password: bool) -> Self {
        assert!(which("docker-registry"), "these tests need docker-registry");
        // Below the ports that outgoing connections use: to knock on one of those
        // while nobody listens can be answered by the knocker itself.
        let first = 10_000 + u16::try_from(std::process::id() % 20_000).expect("small");
        let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
        let port = (first..first + 100).find(free).expect("a port");
        let name = unique("registry");
        let root = machine.path(&name);
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem:\n    rootdirectory: {}\n\
             http:\n  addr: 127.0.0.1:{port}\n{rest}",
            root.display()
        );
        let path = machine.path(&format!("{name}.yml"));
        std::fs::write(&path, config).expect("configuration");
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry");
        let registry = Self { child, port, wants_password };
        let begun = Instant::now();
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            assert!(begun.elapsed() < Duration::from_secs(20), "the registry does not answer");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        registry
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// As references name it.
    pub(crate) fn name(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Pushes the test image under this name, and returns the whole name.
    pub(crate) fn push(&self, machine: &Machine, name: &str, options: &[&str]) -> String {
        let archive = machine.path("push.tar");
        oci_archive(&archive, "pushed:1");
        self.push_archive(&archive, name, options)
    }

    pub(crate) fn push_archive(&self, archive: &Path, name: &str, options: &[&str]) -> String {
        let target = format!("{}/{name}", self.name());
        let mut skopeo = Command::new("skopeo");
        skopeo.args(["copy", "--insecure-policy", "--dest-tls-verify=false"]).args(options);
        if self.wants_password {
            skopeo.args(["--dest-creds", "user:right"]);
        }
        let copied = skopeo
            .arg(format!("oci-archive:{}", archive.display()))
            .arg(format!("docker://{target}"))
            .output()
            .expect("these tests need skopeo");
        assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
        target
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/v2/{path}", self.name())
    }

    /// What the registry has there.
    pub(crate) async fn get(&self, path: &str) -> Bytes {
        let accepted = "application/vnd.oci.image.manifest.v1+json, \
                        application/vnd.docker.distribution.manifest.v2+json";
        let client = reqwest::Client::new();
        let answer = client.get(self.url(path)).header("accept", accepted).send().await;
        let answer = answer.expect("an answer").error_for_status().expect("a good one");
        answer.bytes().await.expect("a body")
    }

    pub(crate) async fn put(&self, path: &str, kind: &str, body: &str) {
        let client = reqwest::Client::new();
        let put = client.put(self.url(path)).header("content-type", kind).body(body.to_owned());
        put.send().await.expect("an answer").error_for_status().expect("a good one");
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A server that answers by a function, and goes when it goes.
pub(crate) struct Server {
    pub(crate) port: u16,
    _serving: JoinSet<()>,
}

impl Server {
    pub(crate) async fn start(
        answer: impl Fn(Request<Incoming>) -> Response<Full<Bytes>> + Send + Sync + 'static,
    ) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let answer = Arc::new(answer);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut lines = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let answer = answer.clone();
                lines.spawn(async move {
                    let service = service_fn(|request| {
                        let answer = answer(request);
                        async move { Ok::<_, Infallible>(answer) }
                    });
                    drop(
                        http1::Builder::new().serve_connection(TokioIo::new(stream), service).await,
                    );
                });
            }
        });
        Self { port, _serving: serving }
    }
}

/// A server of tokens, as Docker specifies them: whoever names himself must know his
/// password, and gets what he asks for; whoever does not gets what is everybody's.
pub(crate) struct TokenServer {
    server: Server,
    certificate: PathBuf,
    asked: Arc<Mutex<Vec<String>>>,
    indisposed: Arc<AtomicUsize>,
}

impl TokenServer {
    pub(crate) async fn start(machine: &Machine) -> Self {
        let (key, certificate) = (machine.path("token.key"), machine.path("token.crt"));
        openssl(
            &[
                "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650", "-subj",
                "/CN=test",
            ],
            &[("-keyout", &key), ("-out", &certificate)],
        );
        let der = machine.path("token.der");
        openssl(&["x509", "-outform", "der"], &[("-in", &certificate), ("-out", &der)]);
        let der = encoded(&std::fs::read(&der).expect("a certificate"), STANDARD);
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let (heard, work) = (asked.clone(), machine.path("unsigned"));
        let indisposed: Arc<AtomicUsize> = Arc::default();
        let left = indisposed.clone();
        let server = Server::start(move |request| {
            let less = |left: usize| left.checked_sub(1);
            if left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok() {
                let page = Full::new(Bytes::from("<h1>503 Service Temporarily Unavailable</h1>"));
                return Response::builder().status(503).body(page).expect("an answer");
            }
            let uri = format!("http://token{}", request.uri());
            let uri = reqwest::Url::parse(&uri).expect("a query");
            let wish = uri.query_pairs().find(|(name, _)| name == "scope");
            let wish = wish.map(|(_, wish)| wish.into_owned()).unwrap_or_default();
            let right = format!("Basic {}", encoded(b"user:right", STANDARD));
            let who = match request.headers().get("authorization") {
                None => "",
                Some(shown) if *shown == right => "user",
                Some(_) => return answered(401, &json!({"details": "incorrect password"})),
            };
            heard.lock().expect("a list").push(format!("{who} {wish}"));
            let mut parts = wish.splitn(3, ':');
            let mut part = || parts.next().unwrap_or_default();
            let (kind, name, actions) = (part(), part(), part());
            let public = name.starts_with("public/") && actions == "pull";
            let access = if kind == "repository" && (who == "user" || public) {
                let actions: Vec<&str> = actions.split(',').collect();
                json!([{"type": kind, "name": name, "actions": actions}])
            } else {
                json!([])
            };
            let claims = json!({
                "iss": "test", "sub": who, "aud": "registry.test", "nbf": 0, "iat": 0,
                "exp": 4_000_000_000_u64, "jti": "1", "access": access,
            });
            answered(200, &json!({"token": signed(&claims, &der, &key, &work)}))
        });
        Self { server: server.await, certificate, asked, indisposed }
    }

    /// Where it answers.
    pub(crate) fn address(&self) -> String {
        format!("http://127.0.0.1:{}/token", self.server.port)
    }

    /// Who has asked for what since the start, or since [`Self::forget`].
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("a list").clone()
    }

    /// So many times it answers that it cannot.
    pub(crate) fn is_indisposed(&self, times: usize) {
        self.indisposed.store(times, Ordering::SeqCst);
    }

    pub(crate) fn forget(&self) {
        self.asked.lock().expect("a list").clear();
    }
}

fn answered(status: u16, body: &serde_json::Value) -> Response<Full<Bytes>> {
    let body = Full::new(Bytes::from(body.to_string()));
    Response::builder().status(status).body(body).expect("an answer")
}

/// A JSON web token, signed with RS256.
fn signed(claims: &serde_json::Value, certificate: &str, key: &Path, work: &Path) -> String {
    let header = json!({"typ": "JWT", "alg": "RS256", "x5c": [certificate]});
    let part = |value: &serde_json::Value| encoded(value.to_string().as_bytes(), URL);
    let text = format!("{}.{}", part(&header), part(claims));
    let work = work.with_extension(unique("t"));
    std::fs::write(&work, &text).expect("written");
    let signature = work.with_extension("signature");
    openssl(&["dgst", "-sha256"], &[("-sign", key), ("-out", &signature), ("", &work)]);
    format!("{text}.{}", encoded(&std::fs::read(&signature).expect("a signature"), URL))
}

pub(crate) fn openssl(words: &[&str], files: &[(&str, &Path)]) {
    let mut command = Command::new("openssl");
    command.args(words);
    for (option, path) in files {
        if !option.is_empty() {
            command.arg(option);
        }
        command.arg(path);
    }
    let done = command.output().expect("these tests need openssl");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

const STANDARD: (&[u8; 2], bool) = (b"+/", true);
const URL: (&[u8; 2], bool) = (b"-_", false);

/// Base64: with these two digits after the letters and numbers, and with padding or
/// without.
fn encoded(bytes: &[u8], (last, pads): (&[u8; 2], bool)) -> String {
    let digits: Vec<u8> =
        (b'A'..=b'Z').chain(b'a'..=b'z').chain(b'0'..=b'9').chain(*last).collect();
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..=group.len() {
            let digit = (bits >> (18 - 6 * place)) & 63;
            _ = write!(text, "{}", char::from(digits[digit as usize]));
        }
        if pads {
            text.push_str(&"==="[group.len()..]);
        }
    }
    text
}
