//! What lies on the wire between a card and the control plane:
//! `{"type": "CardPlan", "message": {…}}`, the envelope that ACS uses.

use net::flow::{FlowsAsked, FlowsTold};
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
    /// To the card: what passes there, and what does not.
    FlowsAsked(FlowsAsked),
    /// From the card: that.
    FlowsTold(FlowsTold),
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
    use ident::{EniId, Generation, Timestamp};
    use net::flow::{Action, Counted, Direction, Flow, MOST_FLOWS};

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
        let asked = FlowsAsked { number: 1, enis: [].into(), address: None };
        let frame = Frame::FlowsAsked(asked);
        assert_eq!(Frame::read(&frame.write().expect("writable")).expect("readable"), frame);
        assert!(Frame::read(r#"{"type":"Else","message":{}}"#).is_err());
    }

    #[test]
    fn as_many_flows_as_there_may_be_are_one_message() {
        let wide = "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff".parse().expect("an address");
        let flow = Flow {
            eni: EniId::mint(u128::MAX),
            direction: Direction::Ingress,
            action: Action::Reject,
            protocol: u8::MAX,
            source: wide,
            destination: wide,
            source_port: u16::MAX,
            destination_port: u16::MAX,
            counted: Some(Counted { packets: u64::MAX, bytes: u64::MAX }),
            start: Some(Timestamp(i64::MAX)),
        };
        let told = FlowsTold { number: u64::MAX, flows: vec![flow; MOST_FLOWS], is_cut: true };
        let text = Frame::FlowsTold(told).write().expect("writable");
        assert!(text.len() < 1 << 20, "{} bytes are more than the edge takes", text.len());
    }
}
