//! What lies on the wire between a card and the control plane:
//! `{"type": "CardPlan", "message": {…}}`, the envelope that ACS uses.

use net::plan::{CardPlan, CardReport};
use serde::{Deserialize, Serialize};

/// One text message, of either direction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "message")]
pub enum Frame {
    /// To the card: what its node must have.
    CardPlan(CardPlan),
    /// From the card: what its node has.
    CardReport(CardReport),
}

impl Frame {
    /// The frame as text.
    pub fn write(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    /// The frame that `text` is.
    pub fn read(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ident::Generation;

    #[test]
    fn a_frame_is_an_envelope() {
        let frame =
            Frame::CardReport(CardReport { generation: Generation(7), ..Default::default() });
        let text = frame.write().expect("writable");
        assert_eq!(
            text,
            r#"{"type":"CardReport","message":{"generation":7,"present":[],"failed":{}}}"#
        );
        assert_eq!(Frame::read(&text).expect("readable"), frame);
        assert!(Frame::read(r#"{"type":"Else","message":{}}"#).is_err());
    }
}
