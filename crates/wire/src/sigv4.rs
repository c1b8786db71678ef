//! Signature Version 4: proof that a request comes from the owner of a key.
//!
//! Both directions are here, since they differ only in who compares. A server
//! [parses](Signature::parse) the claim, looks up the secret of
//! [`Signature::access_key`], and [verifies](Signature::verify). A client
//! [signs](sign). The clock is always the caller's.

mod canonical;
mod checksum;
mod chunked;
mod refusal;
mod stamp;

pub use chunked::{ChunkError, unchunked};
pub use refusal::Refusal;

use canonical::{canonical_request, hash};
use chunked::{Form, Pieces};
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use ident::Timestamp;
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// The only algorithm there is.
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// What a client may say instead of the hash of its body.
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
/// How far a client's clock may be off: 15 minutes.
const MAX_SKEW_MILLIS: i64 = 15 * 60 * 1000;
/// The longest a presigned request may live: 7 days.
const MAX_EXPIRES_SECONDS: i64 = 7 * 24 * 60 * 60;

/// The parts of an HTTP request that a signature covers.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// `POST`.
    pub method: &'a str,
    /// The path as it is on the wire, percent-encoded.
    pub path: &'a str,
    /// The query string as it is on the wire, without its question mark.
    pub query: &'a str,
    /// All headers. Over HTTP/2 the caller puts `:authority` in as `host`.
    pub headers: &'a HeaderMap,
    /// All of the body, as it came.
    pub body: &'a [u8],
}

/// A key with its secret.
#[derive(Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Credentials {
    pub access_key: String,
    pub secret_key: String,
    /// Comes with temporary credentials.
    pub session_token: Option<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({})", self.access_key)
    }
}

/// What a signature is good for: a day, a region, a service.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Scope {
    date: String,
    region: String,
    service: String,
}

/// A signature as a request claims it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Whose it claims to be.
    pub access_key: String,
    /// The token that came with temporary credentials.
    pub session_token: Option<String>,
    scope: Scope,
    signed_headers: Vec<String>,
    digest: String,
    /// `20150830T123600Z`, and what it means.
    stamp: String,
    at: Timestamp,
    /// For how many seconds a presigned request lives.
    expires: Option<i64>,
}

impl Signature {
    /// Reads the `Authorization` header, or the query of a presigned request.
    pub fn parse(parts: &Parts<'_>) -> Result<Self, Refusal> {
        if let Some(authorization) = header(parts, "authorization") {
            return Self::from_header(parts, &authorization);
        }
        let query: Vec<(String, String)> =
            form_urlencoded::parse(parts.query.as_bytes()).into_owned().collect();
        if query.iter().any(|(name, _)| name == "X-Amz-Signature") {
            return Self::from_query(&query);
        }
        Err(Refusal::Missing)
    }

    /// The service in the credential scope: `ecs`.
    pub fn service(&self) -> &str {
        &self.scope.service
    }

    /// The region in the credential scope: `us-east-1`.
    pub fn region(&self) -> &str {
        &self.scope.region
    }

    /// Whether it was made for this service; a signature for another one must not
    /// open this one's doors.
    pub fn made_for(&self, service: &crate::Service) -> Result<(), Refusal> {
        if self.scope.service == service.name {
            return Ok(());
        }
        let name = service.name;
        Err(Refusal::Scope(format!("Credential should be scoped to correct service: '{name}'.")))
    }

    /// Whether the request was made with this secret, and now.
    pub fn verify(
        &self,
        parts: &Parts<'_>,
        secret_key: &str,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        self.covers(parts)?;
        let payload = self.payload(parts)?;
        let request =
            canonical_request(parts, &self.signed_headers, &payload, self.scope.service == "s3");
        let key = signing_key(secret_key, &self.scope);
        let expected = sign_text(&key, &string_to_sign(&self.scope, &self.stamp, &request));
        equal(&expected, &self.digest)?;
        // Only now, so that only the owner of the key learns what our clock says.
        self.current(now)?;
        match Form::named(&payload) {
            Some(form) if form.signed => self.verify_chunks(&key, form, parts.body),
            _ => Ok(()),
        }
    }

    /// Whether each chunk was signed with this key, and after the one before it.
    fn verify_chunks(&self, key: &[u8], form: Form, body: &[u8]) -> Result<(), Refusal> {
        let (stamp, scope, nothing) = (&self.stamp, self.scope.text(), hash(b""));
        let mut last = self.digest.clone();
        let mut pieces = Pieces::of(form, body);
        while let Some(chunk) = pieces.chunk()? {
            let hash = hash(chunk.data);
            let text = format!("{ALGORITHM}-PAYLOAD\n{stamp}\n{scope}\n{last}\n{nothing}\n{hash}");
            last = sign_text(key, &text);
            equal(&last, chunk.signature)?;
        }
        let trailers = pieces.trailers()?;
        let Some(signature) = trailers.signature else { return Ok(()) };
        let hash = hash(trailers.canonical().as_bytes());
        let text = format!("{ALGORITHM}-TRAILER\n{stamp}\n{scope}\n{last}\n{hash}");
        equal(&sign_text(key, &text), signature)
    }

    fn from_header(parts: &Parts<'_>, authorization: &str) -> Result<Self, Refusal> {
        let Some(fields) = authorization.strip_prefix(ALGORITHM) else {
            return Err(Refusal::Incomplete(format!(
                "Unsupported AWS 'algorithm': '{}'.",
                authorization.split_whitespace().next().unwrap_or_default()
            )));
        };
        let field = |name: &'static str| {
            let mut pairs = fields.split(',').filter_map(|pair| pair.trim().split_once('='));
            pairs
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.trim().to_owned())
                .ok_or_else(|| {
                    Refusal::Incomplete(format!(
                        "Authorization header requires '{name}' parameter."
                    ))
                })
        };
        let stamp = stamp_of(parts).ok_or_else(|| {
            Refusal::Incomplete(
                "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' \
                 header."
                    .into(),
            )
        })?;
        Self::assemble(
            &field("Credential")?,
            &field("SignedHeaders")?,
            field("Signature")?,
            stamp,
            header(parts, "x-amz-security-token"),
            None,
        )
    }

    fn from_query(query: &[(String, String)]) -> Result<Self, Refusal> {
        let find =
            |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        let field = |name: &'static str| {
            find(name).ok_or_else(|| {
                Refusal::Incomplete(format!("AWS query-string parameters must include '{name}'."))
            })
        };
        if field("X-Amz-Algorithm")? != ALGORITHM {
            return Err(Refusal::Incomplete("Unsupported AWS 'algorithm'.".into()));
        }
        let expires = field("X-Amz-Expires")?.parse().ok();
        let expires = expires.filter(|seconds| (1..=MAX_EXPIRES_SECONDS).contains(seconds));
        Self::assemble(
            &field("X-Amz-Credential")?,
            &field("X-Amz-SignedHeaders")?,
            field("X-Amz-Signature")?,
            field("X-Amz-Date")?,
            find("X-Amz-Security-Token"),
            Some(expires.ok_or_else(|| {
                Refusal::Incomplete("X-Amz-Expires must be between 1 and 604800 seconds.".into())
            })?),
        )
    }

    fn assemble(
        credential: &str,
        signed_headers: &str,
        digest: String,
        stamp: String,
        session_token: Option<String>,
        expires: Option<i64>,
    ) -> Result<Self, Refusal> {
        let parts: Vec<&str> = credential.split('/').collect();
        let [access_key, date, region, service, "aws4_request"] = parts.as_slice() else {
            return Err(Refusal::Incomplete(format!(
                "Credential must have exactly 5 slash-delimited elements, e.g. \
                 keyid/date/region/service/term, got '{credential}'"
            )));
        };
        let at = stamp::read(&stamp).ok_or_else(|| {
            Refusal::Incomplete(format!(
                "Date must be in ISO-8601 'basic format'. Got '{stamp}'. See \
                 http://en.wikipedia.org/wiki/ISO_8601"
            ))
        })?;
        if !stamp.starts_with(date) || date.len() != 8 {
            return Err(Refusal::Incomplete(format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date \
                 from HTTP: '{date}' != '{stamp}'."
            )));
        }
        Ok(Self {
            access_key: (*access_key).to_owned(),
            session_token,
            scope: Scope {
                date: (*date).to_owned(),
                region: (*region).to_owned(),
                service: (*service).to_owned(),
            },
            signed_headers: signed_headers.split(';').map(str::to_ascii_lowercase).collect(),
            digest,
            stamp,
            at,
            expires,
        })
    }

    /// A signature is worth nothing if what decides about the request is not
    /// under it.
    fn covers(&self, parts: &Parts<'_>) -> Result<(), Refusal> {
        // In a query, they could say anything, a line's end included.
        let odd = |name: &&String| http::HeaderName::from_bytes(name.as_bytes()).is_err();
        if let Some(name) = self.signed_headers.iter().find(odd) {
            return Err(Refusal::Incomplete(format!("'{name}' is not the name of a header.")));
        }
        let signed = |name: &str| self.signed_headers.iter().any(|signed| signed == name);
        if !signed("host") {
            return Err(Refusal::Incomplete(
                "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.".into(),
            ));
        }
        let decisive = [
            "x-amz-date",
            "x-amz-target",
            "x-amz-content-sha256",
            "x-amz-decoded-content-length",
            "x-amz-trailer",
        ];
        let bare =
            decisive.into_iter().find(|name| parts.headers.contains_key(*name) && !signed(name));
        bare.map_or(Ok(()), |name| {
            Err(Refusal::Incomplete(format!(
                "There were headers present in the request which were not signed: {name}"
            )))
        })
    }

    /// The hash of the body that goes into the signature, or what is said in its place.
    fn payload(&self, parts: &Parts<'_>) -> Result<String, Refusal> {
        let actual = || hash(parts.body);
        match header(parts, "x-amz-content-sha256") {
            Some(claimed) if claimed == UNSIGNED || claimed == actual() => Ok(claimed),
            Some(claimed) if Form::named(&claimed).is_some() => Ok(claimed),
            Some(claimed) if claimed.starts_with("STREAMING-") => {
                Err(Refusal::Incomplete(format!(
                    "Bodies signed as '{claimed}' are taken by no service here: sign with \
                     {ALGORITHM}, in chunks or the whole body."
                )))
            }
            Some(_) => Err(Refusal::Mismatch),
            None if self.expires.is_some() && self.scope.service == "s3" => Ok(UNSIGNED.into()),
            None => Ok(actual()),
        }
    }

    fn current(&self, now: Timestamp) -> Result<(), Refusal> {
        let lives = self.expires.map_or(MAX_SKEW_MILLIS, |seconds| seconds * 1000);
        let earliest = Timestamp(now.0.saturating_sub(lives));
        let latest = Timestamp(now.0.saturating_add(MAX_SKEW_MILLIS));
        let minutes = lives / 60_000;
        let (stamp, now) = (&self.stamp, stamp::write(now));
        if self.at < earliest {
            let earliest = stamp::write(earliest);
            return Err(Refusal::Expired(format!(
                "Signature expired: {stamp} is now earlier than {earliest} ({now} - {minutes} min.)"
            )));
        }
        if self.at > latest {
            let latest = stamp::write(latest);
            return Err(Refusal::Expired(format!(
                "Signature not yet current: {stamp} is still later than {latest} ({now} + 15 min.)"
            )));
        }
        Ok(())
    }
}

/// What a client wants to sign for.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Purpose<'a> {
    pub region: &'a str,
    pub service: &'a str,
}

/// The headers to add to a request so that it is signed: `x-amz-date`, perhaps
/// `x-amz-security-token`, and `authorization`.
///
/// Signed are `host`, `content-type` and everything that begins with `x-amz-`.
pub fn sign(
    parts: &Parts<'_>,
    credentials: &Credentials,
    purpose: Purpose<'_>,
    now: Timestamp,
) -> Vec<(&'static str, String)> {
    let stamp = stamp::write(now);
    let mut added = vec![("x-amz-date", stamp.clone())];
    if let Some(token) = &credentials.session_token {
        added.push(("x-amz-security-token", token.clone()));
    }
    let mut headers = parts.headers.clone();
    for (name, value) in &added {
        if let Ok(value) = http::HeaderValue::from_str(value) {
            headers.insert(*name, value);
        }
    }
    let mut signed: Vec<String> = headers.keys().map(|name| name.as_str().to_owned()).collect();
    signed.retain(|n| n == "host" || n == "content-type" || n.starts_with("x-amz-"));
    signed.sort_unstable();

    let scope = Scope {
        date: stamp.chars().take(8).collect(),
        region: purpose.region.to_owned(),
        service: purpose.service.to_owned(),
    };
    let payload = header(parts, "x-amz-content-sha256").unwrap_or_else(|| hash(parts.body));
    let parts = Parts { headers: &headers, ..*parts };
    let request = canonical_request(&parts, &signed, &payload, purpose.service == "s3");
    let key = signing_key(&credentials.secret_key, &scope);
    let signature = sign_text(&key, &string_to_sign(&scope, &stamp, &request));
    let authorization = format!(
        "{ALGORITHM} Credential={}/{}, SignedHeaders={}, Signature={signature}",
        credentials.access_key,
        scope.text(),
        signed.join(";"),
    );
    added.push(("authorization", authorization));
    added
}

impl Scope {
    fn text(&self) -> String {
        format!("{}/{}/{}/aws4_request", self.date, self.region, self.service)
    }
}

fn string_to_sign(scope: &Scope, stamp: &str, canonical_request: &str) -> String {
    let hash = hash(canonical_request.as_bytes());
    format!("{ALGORITHM}\n{stamp}\n{}\n{hash}", scope.text())
}

fn signing_key(secret_key: &str, scope: &Scope) -> Vec<u8> {
    let mut key = hmac(format!("AWS4{secret_key}").as_bytes(), &scope.date);
    for text in [&scope.region, &scope.service, "aws4_request"] {
        key = hmac(&key, text);
    }
    key
}

fn sign_text(key: &[u8], text: &str) -> String {
    hex::encode(hmac(key, text))
}

/// Compares two signatures in a time that says nothing of where they differ.
fn equal(expected: &str, found: &str) -> Result<(), Refusal> {
    let same = bool::from(expected.as_bytes().ct_eq(found.as_bytes()));
    if same { Ok(()) } else { Err(Refusal::Mismatch) }
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// When a request was signed, as it goes into the signature. `X-Amz-Date` is for
/// clients that cannot choose their `Date`, so it comes first.
fn stamp_of(parts: &Parts<'_>) -> Option<String> {
    header(parts, "x-amz-date").or_else(|| {
        let date = header(parts, "date")?;
        Some(stamp::read_http(&date).map_or(date, stamp::write))
    })
}

fn header(parts: &Parts<'_>, name: &str) -> Option<String> {
    let value = parts.headers.get(name)?;
    Some(String::from_utf8_lossy(value.as_bytes()).trim().to_owned())
}

#[cfg(test)]
mod tests;
