//! Bytes in JSON: base64, as `#[serde(with = "wire::blob")]` on an optional
//! member.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Writes base64.
#[allow(clippy::ref_option)] // The signature is serde's.
pub fn serialize<S: Serializer>(bytes: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
    bytes.as_ref().map(|bytes| STANDARD.encode(bytes)).serialize(serializer)
}

/// Reads base64.
pub fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<u8>>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| STANDARD.decode(text).map_err(de::Error::custom)).transpose()
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    #[derive(Debug, PartialEq, Deserialize, Serialize)]
    struct Letter {
        #[serde(default, with = "super", skip_serializing_if = "Option::is_none")]
        seal: Option<Vec<u8>>,
    }

    #[test]
    fn there_and_back() {
        for (seal, json) in [
            (Some(vec![0, 255]), r#"{"seal":"AP8="}"#),
            (Some(vec![]), r#"{"seal":""}"#),
            (None, "{}"),
        ] {
            let letter = Letter { seal };
            assert_eq!(serde_json::to_string(&letter).expect("json"), json);
            assert_eq!(serde_json::from_str::<Letter>(json).expect("letter"), letter);
        }
        assert!(serde_json::from_str::<Letter>(r#"{"seal": "?"}"#).is_err());
    }
}
