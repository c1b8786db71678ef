//! Against AWS's published test suite, and against ourselves.

use super::*;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
/// 2015-08-30T12:36:00Z, when the whole suite takes place.
const THEN: Timestamp = Timestamp(1_440_938_160_000);

/// Requests signed in both ways, and what is signed on the way there: AWS's
/// `aws-sig-v4-test-suite`, as `awslabs/aws-c-auth` has it today.
const SUITE: &str = include_str!("../../tests/fixtures/aws-sig-v4-test-suite.jsonl");

#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Case {
    #[serde(rename = "case")]
    name: String,
    form: String,
    /// The path is signed as it is, as S3 has it.
    literal: bool,
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body: String,
    canonical: String,
    to_sign: String,
}

impl Case {
    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let name: http::HeaderName = name.parse().expect("a name");
            headers.append(name, http::HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
        }
        headers
    }
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let base = [("host", "example.amazonaws.com"), ("x-amz-date", "20150830T123600Z")];
    let mut headers = HeaderMap::new();
    for (name, value) in base.iter().chain(pairs) {
        headers.append(*name, value.parse().expect("a value"));
    }
    headers
}

fn authorize(headers: &mut HeaderMap, signed: &str, signature: &str) {
    let text = format!(
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
         SignedHeaders={signed}, Signature={signature}"
    );
    headers.insert("authorization", text.parse().expect("a value"));
}

#[test]
fn the_test_suite_of_aws() {
    let mut literal = 0;
    for line in SUITE.lines() {
        let case: Case = serde_json::from_str(line).expect(line);
        let name = format!("{} ({})", case.name, case.form);
        let headers = case.headers();
        let (method, path, query) = (&*case.method, &*case.path, &*case.query);
        let parts = Parts { method, path, query, headers: &headers, body: case.body.as_bytes() };
        let claim = Signature::parse(&parts).expect(&name);
        assert_eq!(claim.access_key, "AKIDEXAMPLE");
        assert_eq!((claim.region(), claim.service()), ("us-east-1", "service"));

        if name == "post-sts-header-after (query)" {
            // A token that is put into a query after signing: a few services of AWS
            // have it so, none that is here.
            assert_eq!(claim.verify(&parts, SECRET, THEN), Err(Refusal::Mismatch));
            continue;
        }
        let payload = claim.payload(&parts).expect(&name);
        let canonical = canonical_request(&parts, &claim.signed_headers, &payload, case.literal);
        assert_eq!(canonical, case.canonical, "{name}");
        assert_eq!(string_to_sign(&claim.scope, &claim.stamp, &canonical), case.to_sign, "{name}");
        assert_eq!(sign_text(&signing_key(SECRET, &claim.scope), &case.to_sign), claim.digest);
        if case.literal {
            // Whether paths are taken literally is the service's to say, and this one
            // would not be asked.
            literal += 1;
            continue;
        }
        assert_eq!(claim.verify(&parts, SECRET, THEN), Ok(()), "{name}");
        assert_eq!(claim.verify(&parts, "guess", THEN), Err(Refusal::Mismatch), "{name}");
        let other = Parts { body: b"other", ..parts };
        assert_eq!(claim.verify(&other, SECRET, THEN), Err(Refusal::Mismatch), "{name}");
    }
    assert_eq!((SUITE.lines().count(), literal), (76, 14));
}

/// A request with this `Date` and no `X-Amz-Date`, signed for what it means.
fn dated(date: &str, day: &str) -> Result<(), Refusal> {
    let mut unsigned = headers(&[("date", date)]);
    unsigned.remove("x-amz-date");
    let parts = Parts { method: "GET", path: "/", query: "", headers: &unsigned, body: b"" };
    let signed = ["date".to_owned(), "host".to_owned()];
    let request = canonical_request(&parts, &signed, &hash(b""), false);
    let scope = Scope { date: day.into(), region: "us-east-1".into(), service: "service".into() };
    let text = string_to_sign(&scope, "20150830T123600Z", &request);
    let signature = sign_text(&signing_key(SECRET, &scope), &text);
    let text = format!(
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/{}, SignedHeaders=date;host, \
         Signature={signature}",
        scope.text()
    );
    let mut headers = unsigned.clone();
    headers.insert("authorization", text.parse().expect("a value"));
    let parts = Parts { headers: &headers, ..parts };
    Signature::parse(&parts)?.verify(&parts, SECRET, THEN)
}

#[test]
fn a_date_will_do() {
    for date in ["Sun, 30 Aug 2015 12:36:00 GMT", "20150830T123600Z"] {
        assert_eq!(dated(date, "20150830"), Ok(()), "{date}");
        assert!(matches!(dated(date, "20150831"), Err(Refusal::Incomplete(_))), "{date}");
    }
    for date in ["Sun, 30 Aug 2015 12:36:01 GMT", "20150830T123601Z"] {
        assert_eq!(dated(date, "20150830"), Err(Refusal::Mismatch), "it is under the signature");
    }
    let refused = dated("yesterday", "20150830").expect_err("no date");
    assert!(refused.to_string().contains("Got 'yesterday'"), "{refused}");
}

fn credentials(token: Option<&str>) -> Credentials {
    Credentials {
        access_key: "AKIDEXAMPLE".into(),
        secret_key: SECRET.into(),
        session_token: token.map(str::to_owned),
    }
}

/// Signs a request to ECS, lets `spoil` at it, and verifies it at `now`.
fn round_trip(
    now: Timestamp,
    spoil: impl FnOnce(&mut HeaderMap, &mut Vec<u8>),
) -> Result<(), Refusal> {
    let mut headers = HeaderMap::new();
    headers.insert("host", "127.0.0.1:4566".parse().expect("a value"));
    headers.insert(
        "x-amz-target",
        "AmazonEC2ContainerServiceV20141113.RunTask".parse().expect("a value"),
    );
    let mut body = b"{}".to_vec();
    let purpose = Purpose { region: "eu-north-1", service: "ecs" };
    let parts = Parts { method: "POST", path: "/", query: "", headers: &headers, body: &body };
    for (name, value) in sign(&parts, &credentials(Some("token")), purpose, THEN) {
        headers.insert(name, value.parse().expect("a value"));
    }
    spoil(&mut headers, &mut body);
    let parts = Parts { method: "POST", path: "/", query: "", headers: &headers, body: &body };
    let claim = Signature::parse(&parts)?;
    assert_eq!(claim.session_token.as_deref(), Some("token"));
    claim.verify(&parts, SECRET, now)
}

#[test]
fn what_we_sign_we_accept_until_somebody_touches_it() {
    assert_eq!(round_trip(THEN, |_, _| {}), Ok(()));
    assert_eq!(round_trip(THEN, |_, body| body.push(b' ')), Err(Refusal::Mismatch));
    let other = |headers: &mut HeaderMap, _: &mut Vec<u8>| {
        headers.insert("x-amz-target", "Other.Thing".parse().expect("a value"));
    };
    assert_eq!(round_trip(THEN, other), Err(Refusal::Mismatch));
    let spare = |headers: &mut HeaderMap, _: &mut Vec<u8>| {
        headers.insert("user-agent", "of no interest".parse().expect("a value"));
    };
    assert_eq!(round_trip(THEN, spare), Ok(()));
    let unsigned = |headers: &mut HeaderMap, _: &mut Vec<u8>| {
        headers.insert("x-amz-content-sha256", UNSIGNED.parse().expect("a value"));
    };
    assert!(
        matches!(round_trip(THEN, unsigned), Err(Refusal::Incomplete(_))),
        "nobody may lift the body out of the signature afterwards"
    );
}

#[test]
fn clocks_may_differ_by_a_quarter_of_an_hour() {
    let minutes = |minutes: i64| Timestamp(THEN.0 + minutes * 60_000);
    for fine in [-15, 0, 15] {
        assert_eq!(round_trip(minutes(fine), |_, _| {}), Ok(()), "{fine}");
    }
    for over in [-15 * 60_000 - 1, 15 * 60_000 + 1] {
        let outcome = round_trip(Timestamp(THEN.0 + over), |_, _| {});
        assert!(matches!(outcome, Err(Refusal::Expired(_))), "{over}: {outcome:?}");
    }
    assert_eq!(
        round_trip(minutes(16), |_, _| {}),
        Err(Refusal::Expired(
            "Signature expired: 20150830T123600Z is now earlier than 20150830T123700Z \
             (20150830T125200Z - 15 min.)"
                .into()
        ))
    );
    assert_eq!(
        round_trip(minutes(-16), |_, _| {}),
        Err(Refusal::Expired(
            "Signature not yet current: 20150830T123600Z is still later than 20150830T123500Z \
             (20150830T122000Z + 15 min.)"
                .into()
        ))
    );
}

#[test]
fn the_hash_a_client_claims_must_be_true() {
    let body = b"Param1=value1";
    let elliptic = Refusal::Incomplete(
        "Bodies signed as 'STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD' are taken by no service \
         here: sign with AWS4-HMAC-SHA256, in chunks or the whole body."
            .into(),
    );
    for (claimed, outcome) in [
        (UNSIGNED.to_owned(), Ok(())),
        (hash(body), Ok(())),
        (hash(b"other"), Err(Refusal::Mismatch)),
        ("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD".to_owned(), Err(elliptic.clone())),
    ] {
        let mut headers = headers(&[("x-amz-content-sha256", &claimed)]);
        headers.remove("x-amz-date");
        let purpose = Purpose { region: "us-east-1", service: "service" };
        let unsigned = Parts { method: "POST", path: "/", query: "", headers: &headers, body };
        let added = sign(&unsigned, &credentials(None), purpose, THEN);
        let mut headers = headers.clone();
        for (name, value) in added {
            headers.insert(name, value.parse().expect("a value"));
        }
        let parts = Parts { headers: &headers, ..unsigned };
        let claim = Signature::parse(&parts).expect("parsed");
        assert_eq!(claim.verify(&parts, SECRET, THEN), outcome, "{claimed}");
    }
}

#[test]
fn presigned_requests_live_as_long_as_they_say() {
    // Made by botocore's SigV4QueryAuth for sts:GetCallerIdentity, 60 seconds.
    let query = "Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Algorithm=AWS4-HMAC-SHA256\
        &X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%2Fsts%2Faws4_request\
        &X-Amz-Date=20150830T123600Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host\
        &X-Amz-Signature=1d10ef2bc2bb1b02201752f1912e9eb7a5df0d0d7bd2cc98b1f5557b7a9254be";
    let mut headers = HeaderMap::new();
    headers.insert("host", "sts.amazonaws.com".parse().expect("a value"));
    let parts = Parts { method: "GET", path: "/", query, headers: &headers, body: b"" };
    let claim = Signature::parse(&parts).expect("parsed");
    assert_eq!(claim.service(), "sts");
    assert_eq!(claim.verify(&parts, SECRET, Timestamp(THEN.0 + 60_000)), Ok(()));
    let late = claim.verify(&parts, SECRET, Timestamp(THEN.0 + 61_000));
    assert!(matches!(late, Err(Refusal::Expired(_))), "{late:?}");
    let forever = query.replace("Expires=60", "Expires=999999");
    let parts = Parts { query: &forever, ..parts };
    assert!(matches!(Signature::parse(&parts), Err(Refusal::Incomplete(_))));
}

#[test]
fn what_is_no_signature() {
    let parse = |authorization: Option<&str>, date: Option<&str>| {
        let mut headers = HeaderMap::new();
        for (name, value) in [("authorization", authorization), ("x-amz-date", date)] {
            if let Some(value) = value {
                headers.insert(name, value.parse().expect("a value"));
            }
        }
        let parts = Parts { method: "GET", path: "/", query: "", headers: &headers, body: b"" };
        Signature::parse(&parts).map(|_| ())
    };
    assert_eq!(parse(None, None), Err(Refusal::Missing));
    let good =
        "AWS4-HMAC-SHA256 Credential=A/20150830/r/s/aws4_request,SignedHeaders=host,Signature=0";
    let date = Some("20150830T123600Z");
    assert_eq!(parse(Some(good), date), Ok(()));
    for (authorization, date, text) in [
        ("Basic abc", date, "Unsupported AWS 'algorithm': 'Basic'."),
        (
            &good.replace(",Signature=0", ""),
            date,
            "Authorization header requires 'Signature' parameter.",
        ),
        (&good.replace("/s/", "/"), date, "got 'A/20150830/r/aws4_request'"),
        (good, None, "requires existence of either a 'X-Amz-Date'"),
        (good, Some("yesterday"), "Got 'yesterday'"),
        (good, Some("20150831T123600Z"), "'20150830' != '20150831T123600Z'"),
        (good, Some("20151399T123600Z"), "Got '20151399T123600Z'"),
    ] {
        match parse(Some(authorization), date) {
            Err(Refusal::Incomplete(found)) => assert!(found.contains(text), "{found}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_is_signed_must_be_the_name_of_a_header() {
    let mut headers = headers(&[]);
    for signed in ["host;x-amz-date;", "host; x-amz-date", "host;a:b", ""] {
        authorize(&mut headers, signed, "0");
        let parts = Parts { method: "GET", path: "/", query: "", headers: &headers, body: b"" };
        let claim = Signature::parse(&parts).expect("parsed");
        let refused = claim.verify(&parts, SECRET, THEN);
        assert!(matches!(refused, Err(Refusal::Incomplete(_))), "{signed}: {refused:?}");
    }
}

#[test]
fn a_signature_opens_one_door() {
    let mut headers = headers(&[]);
    authorize(&mut headers, "host;x-amz-date", "0");
    let parts = Parts { method: "GET", path: "/", query: "", headers: &headers, body: b"" };
    let claim = Signature::parse(&parts).expect("parsed");
    let refusal = claim.made_for(&crate::ecs::SERVICE).expect_err("made for `service`");
    assert_eq!(refusal.fault(crate::Protocol::Json11).code, "InvalidSignatureException");
}

#[test]
fn each_protocol_refuses_in_its_own_words() {
    use crate::Protocol::{AwsQuery, Ec2Query, Json11};
    for (refusal, protocol, status, code) in [
        (Refusal::Missing, Json11, 403, "MissingAuthenticationTokenException"),
        (Refusal::Missing, Ec2Query, 403, "MissingAuthenticationToken"),
        (Refusal::UnknownKey, Json11, 403, "UnrecognizedClientException"),
        (Refusal::UnknownKey, AwsQuery, 403, "InvalidClientTokenId"),
        (Refusal::UnknownKey, Ec2Query, 401, "AuthFailure"),
        (Refusal::Mismatch, Json11, 403, "InvalidSignatureException"),
        (Refusal::Mismatch, AwsQuery, 403, "SignatureDoesNotMatch"),
        (Refusal::Mismatch, Ec2Query, 401, "AuthFailure"),
        (Refusal::Expired(String::new()), Ec2Query, 400, "RequestExpired"),
        (Refusal::Incomplete(String::new()), AwsQuery, 400, "IncompleteSignature"),
    ] {
        let fault = refusal.fault(protocol);
        assert_eq!((fault.status, &*fault.code), (status, code), "{refusal:?} {protocol:?}");
    }
}
