//! Instance identity documents: what EC2 says of a machine, and its signature, by which
//! others can tell that it was EC2 who said so.

use crate::records::{Eni, Instance};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{
    KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use serde_json::json;

/// A key that cannot be used, for whatever reason: the library does not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key of instance identity documents cannot be used")]
pub struct BadKey;

/// The document of a machine, with its primary interface. `pending_time` is when it was
/// launched, by ISO 8601; `image` is the one that it counts as having.
pub fn document(
    instance: &Instance,
    eni: &Eni,
    (image, architecture): (&str, &str),
    pending_time: &str,
) -> String {
    let document = json!({
        "accountId": instance.scope.account.as_str(),
        "architecture": architecture,
        "availabilityZone": instance.zones.first().map(|zone| zone.name.as_str()),
        "billingProducts": null,
        "devpayProductCodes": null,
        "imageId": image,
        "instanceId": instance.id.as_str(),
        "instanceType": instance.instance_type,
        "kernelId": null,
        "marketplaceProductCodes": null,
        "pendingTime": pending_time,
        "privateIp": eni.net.ipv4.to_string(),
        "ramdiskId": null,
        "region": instance.scope.region.as_str(),
        "version": "2017-09-30",
    });
    // As AWS writes it, and as people read it.
    format!("{document:#}")
}

/// Signs documents: RSA with SHA-256, as AWS does.
#[derive(Debug)]
pub struct Signer(KeyPair);

impl Signer {
    /// A new key.
    pub fn generate() -> Result<Self, BadKey> {
        KeyPair::generate(KeySize::Rsa2048).map(Self).map_err(|_| BadKey)
    }

    /// The key that [`Signer::to_pkcs8`] wrote.
    pub fn from_pkcs8(bytes: &[u8]) -> Result<Self, BadKey> {
        KeyPair::from_pkcs8(bytes).map(Self).map_err(|_| BadKey)
    }

    /// The key, to be kept secret.
    pub fn to_pkcs8(&self) -> Result<Vec<u8>, BadKey> {
        let der: Pkcs8V1Der<'_> = self.0.as_der().map_err(|_| BadKey)?;
        Ok(der.as_ref().to_vec())
    }

    /// The signature of a document, in base 64.
    pub fn sign(&self, document: &str) -> Result<String, BadKey> {
        let mut signature = vec![0; self.0.public_modulus_len()];
        let message = document.as_bytes();
        let signed = self.0.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature);
        signed.map_err(|_| BadKey)?;
        Ok(BASE64.encode(signature))
    }

    /// What knows its signatures.
    pub fn verifier(&self) -> Verifier {
        Verifier(self.0.public_key().as_ref().to_vec())
    }
}

/// Knows the signatures of one [`Signer`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verifier(Vec<u8>);

impl Verifier {
    /// Whether `signature`, in base 64 with or without line breaks, is of `document`.
    pub fn knows(&self, document: &str, signature: &str) -> bool {
        let signature: String = signature.split_ascii_whitespace().collect();
        let Ok(signature) = BASE64.decode(signature) else { return false };
        let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.0);
        key.verify(document.as_bytes(), &signature).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::World;

    #[test]
    fn a_signature_is_of_one_document_and_one_key() {
        let signer = Signer::generate().expect("a key");
        let kept = Signer::from_pkcs8(&signer.to_pkcs8().expect("bytes")).expect("the same key");
        let other = Signer::generate().expect("a key");
        let signature = kept.sign("document").expect("signed");
        let (own, others) = (signer.verifier(), other.verifier());
        assert!(own.knows("document", &signature));
        let (head, tail) = signature.split_at(64);
        assert!(own.knows("document", &format!("{head}\n{tail}\n")), "AWS breaks lines");
        assert!(!own.knows("document ", &signature));
        assert!(!others.knows("document", &signature));
        for forged in ["", "sig", tail, &signature.replace('A', "B")] {
            assert!(!own.knows("document", forged), "{forged}");
        }
        assert_eq!(Signer::from_pkcs8(b"nonsense").map(drop), Err(BadKey));
    }

    #[test]
    fn a_document_says_who_where_and_what() {
        let world = World::new();
        let machine = world.machine();
        let view = world.view();
        let eni = view.get::<Eni>(world.cx.scope(), machine.primary_eni.as_str()).expect("its own");
        let text = document(&machine, &eni, ("ami-1", "x86_64"), "2026-01-01T00:00:00Z");
        let read: serde_json::Value = serde_json::from_str(&text).expect("a document");
        for (name, expected) in [
            ("instanceId", machine.id.as_str()),
            ("accountId", world.cx.scope().account.as_str()),
            ("region", "us-east-1"),
            ("imageId", "ami-1"),
            ("architecture", "x86_64"),
            ("privateIp", &eni.net.ipv4.to_string()),
            ("pendingTime", "2026-01-01T00:00:00Z"),
        ] {
            assert_eq!(read[name], expected, "{name}");
        }
        assert!(read["availabilityZone"].as_str().expect("a zone").starts_with("us-east-1"));
    }
}
