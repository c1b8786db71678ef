//! One conversation with ACS, without the socket: frames in, duties out.

use super::convert;
use crate::engine::{Input, TaskArn};
use ident::Timestamp;
use std::collections::BTreeSet;
use wire::acs::{self, Message};

/// What is to be done about a frame, in order.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant)]
pub enum Duty {
    /// Say this.
    Send(Message),
    /// Have the engine take this in, durably; then say that.
    Accept(Vec<Input>, Vec<Message>),
    /// Ask the engine which running tasks are not among these, and bring its
    /// answer to [`Session::verify`].
    Compare(BTreeSet<TaskArn>),
    /// Keep these credentials.
    Keep(TaskArn, Box<acs::IAMRoleCredentials>),
    /// Remember this as the latest number seen, also across restarts.
    Remember(i64),
}

/// A conversation. The numbers outlive it; a new connection gets a new one.
#[derive(Clone, Debug)]
pub struct Session {
    cluster: String,
    instance: String,
    /// The highest sequence number of a payload or timeline of a manifest; -1 at first.
    latest: i64,
    /// The manifest whose stops we asked to have confirmed, and which they are.
    asked: Option<(String, BTreeSet<TaskArn>)>,
}

impl Session {
    /// The beginning of a conversation about `instance` in `cluster`.
    pub fn new(cluster: &str, instance: &str, latest: i64) -> Self {
        Self { cluster: cluster.to_owned(), instance: instance.to_owned(), latest, asked: None }
    }

    /// What is to be done about `message`.
    pub fn receive(&mut self, message: Message, now: Timestamp) -> Vec<Duty> {
        match message {
            Message::HeartbeatMessage(beat) => {
                let ack = acs::HeartbeatAckRequest { message_id: beat.message_id };
                vec![Duty::Send(ack.into())]
            }
            Message::PayloadMessage(payload) => self.payload(payload),
            Message::IAMRoleCredentialsMessage(message) => credentials(message),
            Message::TaskManifestMessage(manifest) => self.manifest(manifest),
            Message::TaskStopVerificationAck(ack) => self.confirmed(ack),
            // The card brings the interface, and the payload names it again: the
            // announcement itself asks nothing of us but this.
            Message::AttachTaskNetworkInterfacesMessage(message) => self.ack(message.message_id),
            Message::AttachInstanceNetworkInterfacesMessage(message) => {
                self.ack(message.message_id)
            }
            Message::ConfirmAttachmentMessage(message) => {
                tracing::warn!(?message.attachment, "attachments are acknowledged but not used");
                self.ack(message.message_id)
            }
            Message::StageUpdateMessage(message) => self.no_updates(message.message_id),
            Message::PerformUpdateMessage(message) => self.no_updates(message.message_id),
            Message::ErrorMessage(error) => {
                tracing::warn!(?error, "ACS reports an error");
                Vec::new()
            }
            Message::CloseMessage(_) => Vec::new(),
            Message::AccessDeniedException(_)
            | Message::BadRequestException(_)
            | Message::InactiveInstanceException(_)
            | Message::InvalidClusterException(_)
            | Message::InvalidInstanceException(_)
            | Message::ServerException(_) => {
                tracing::warn!(kind = message.kind(), "ACS reports an error");
                Vec::new()
            }
            Message::AckRequest(_)
            | Message::HeartbeatAckRequest(_)
            | Message::IAMRoleCredentialsAckRequest(_)
            | Message::NackRequest(_)
            | Message::PollRequest(_)
            | Message::TaskStopVerificationMessage(_)
            | Message::Unknown(_) => {
                tracing::warn!(kind = message.kind(), at = now.0, "ignored");
                Vec::new()
            }
        }
    }

    fn ack_message(&self, message_id: Option<String>) -> Message {
        let (cluster, instance) = (self.cluster.clone(), self.instance.clone());
        acs::AckRequest { cluster: Some(cluster), container_instance: Some(instance), message_id }
            .into()
    }

    fn ack(&self, message_id: Option<String>) -> Vec<Duty> {
        if message_id.is_none() {
            return Vec::new();
        }
        vec![Duty::Send(self.ack_message(message_id))]
    }

    fn no_updates(&self, message_id: Option<String>) -> Vec<Duty> {
        let nack = acs::NackRequest {
            cluster: Some(self.cluster.clone()),
            container_instance: Some(self.instance.clone()),
            message_id,
            reason: Some("Updates are disabled".to_owned()),
        };
        vec![Duty::Send(nack.into())]
    }

    fn advance(&mut self, number: Option<i64>, duties: &mut Vec<Duty>) {
        if let Some(number) = number.filter(|number| *number > self.latest) {
            self.latest = number;
            duties.push(Duty::Remember(number));
        }
    }

    fn payload(&mut self, payload: acs::PayloadMessage) -> Vec<Duty> {
        let (Some(cluster), Some(_), Some(message_id)) =
            (payload.cluster_arn, payload.container_instance_arn, payload.message_id)
        else {
            tracing::warn!("a payload without its ids is dropped");
            return Vec::new();
        };
        let mut duties = Vec::new();
        let tasks = payload.tasks.unwrap_or_default();
        let mut acks = Vec::new();
        for task in &tasks {
            let both = [&task.role_credentials, &task.execution_role_credentials];
            for given in both.into_iter().flatten() {
                acks.push(credentials_ack(Some(message_id.clone()), given));
                if let Some(arn) = &task.arn {
                    duties.push(Duty::Keep(TaskArn::new(arn.as_str()), Box::new(given.clone())));
                }
            }
        }
        let mut inputs: Vec<Input> =
            tasks.iter().filter_map(|task| convert::task(task, &cluster)).collect();
        // What stops makes room for what starts.
        inputs.sort_by_key(|input| {
            !matches!(input, Input::Want { desired: crate::engine::Desired::Stopped, .. })
        });
        let whole = inputs.len() == tasks.len()
            && !inputs.iter().any(|input| matches!(input, Input::Refuse { .. }));
        if whole {
            acks.insert(0, self.ack_message(Some(message_id)));
        }
        duties.push(Duty::Accept(inputs, acks));
        // Only what was accepted may count as seen.
        self.advance(payload.seq_num.map(i64::from), &mut duties);
        duties
    }

    fn manifest(&mut self, manifest: acs::TaskManifestMessage) -> Vec<Duty> {
        let Some(message_id) = manifest.message_id else { return Vec::new() };
        if manifest.timeline.is_none_or(|timeline| timeline <= self.latest) {
            tracing::debug!(?manifest.timeline, latest = self.latest, "a stale manifest is dropped");
            return Vec::new();
        }
        let mut duties = vec![Duty::Send(self.ack_message(Some(message_id.clone())))];
        self.advance(manifest.timeline, &mut duties);
        let tasks = manifest.tasks.unwrap_or_default();
        let running = tasks.iter().filter(|t| t.desired_status.as_deref() == Some("RUNNING"));
        let listed = running.filter_map(|task| task.task_arn.as_deref()).map(TaskArn::new);
        self.asked = Some((message_id, BTreeSet::new()));
        duties.push(Duty::Compare(listed.collect()));
        duties
    }

    /// The engine's answer to [`Duty::Compare`]: tasks with their clusters.
    pub fn verify(&mut self, candidates: Vec<(TaskArn, String)>) -> Option<Message> {
        let (message_id, asked) = self.asked.as_mut()?;
        if candidates.is_empty() {
            self.asked = None;
            return None;
        }
        asked.extend(candidates.iter().map(|(arn, _)| arn.clone()));
        let message_id = Some(message_id.clone());
        let candidates = candidates.into_iter().map(|(arn, cluster)| acs::TaskIdentifier {
            desired_status: Some("STOPPED".to_owned()),
            task_arn: Some(arn.as_str().to_owned()),
            task_cluster_arn: Some(cluster),
        });
        let stop_candidates = Some(candidates.collect());
        Some(acs::TaskStopVerificationMessage { message_id, stop_candidates }.into())
    }

    fn confirmed(&mut self, ack: acs::TaskStopVerificationAck) -> Vec<Duty> {
        let asked = self.asked.take_if(|(id, _)| ack.message_id.as_ref() == Some(id));
        let Some((_, asked)) = asked else { return Vec::new() };
        let tasks = ack.stop_tasks.unwrap_or_default();
        let stop = tasks.iter().filter_map(|task| task.task_arn.as_deref()).map(TaskArn::new);
        // Nothing is stopped that we did not offer.
        let stop: Vec<TaskArn> = stop.filter(|arn| asked.contains(arn)).collect();
        vec![Duty::Accept(vec![Input::Stop(stop)], Vec::new())]
    }
}

fn credentials(message: acs::IAMRoleCredentialsMessage) -> Vec<Duty> {
    let (Some(task), Some(given)) = (message.task_arn, message.role_credentials) else {
        return Vec::new();
    };
    let ack = credentials_ack(message.message_id, &given);
    vec![Duty::Keep(TaskArn::new(task), Box::new(given)), Duty::Send(ack)]
}

fn credentials_ack(message_id: Option<String>, given: &acs::IAMRoleCredentials) -> Message {
    acs::IAMRoleCredentialsAckRequest {
        credentials_id: given.credentials_id.clone(),
        expiration: given.expiration.clone(),
        message_id,
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(0);

    fn session() -> Session {
        Session::new("c", "i", -1)
    }

    fn frame(kind: &str, message: &serde_json::Value) -> Message {
        let frame = serde_json::json!({ "type": kind, "message": message });
        Message::decode(&frame.to_string()).expect("decodes")
    }

    fn kinds(duties: &[Duty]) -> Vec<String> {
        let kind = |duty: &Duty| match duty {
            Duty::Send(message) => message.kind().to_owned(),
            Duty::Accept(inputs, acks) => format!("accept {} {}", inputs.len(), acks.len()),
            Duty::Compare(listed) => format!("compare {}", listed.len()),
            Duty::Keep(..) => "keep".to_owned(),
            Duty::Remember(number) => format!("remember {number}"),
        };
        duties.iter().map(kind).collect()
    }

    #[test]
    fn heartbeats_are_answered_with_their_id() {
        let beat =
            frame("HeartbeatMessage", &serde_json::json!({ "messageId": "m", "healthy": true }));
        let ack = acs::HeartbeatAckRequest { message_id: Some("m".to_owned()) };
        assert_eq!(session().receive(beat, NOW), [Duty::Send(ack.into())]);
    }

    #[test]
    fn a_payload_is_acknowledged_after_it_is_accepted_and_only_if_all_of_it_is() {
        let payload = |mode: &str| {
            frame(
                "PayloadMessage",
                &serde_json::json!({
                    "clusterArn": "c", "containerInstanceArn": "i", "messageId": "m", "seqNum": 4,
                    "tasks": [
                        { "arn": "arn:t/1", "desiredStatus": "RUNNING", "networkMode": mode,
                          "containers": [{ "name": "a", "image": "b" }],
                          "roleCredentials": { "credentialsId": "x", "expiration": "never" } },
                        { "arn": "arn:t/2", "desiredStatus": "STOPPED" },
                    ],
                }),
            )
        };
        let duties = session().receive(payload("host"), NOW);
        assert_eq!(kinds(&duties), ["keep", "accept 2 2", "remember 4"]);
        let Some(Duty::Accept(inputs, _)) = duties.get(1) else { panic!("accepts") };
        let Input::Want { spec, .. } = &inputs[0] else { panic!("wants") };
        assert_eq!(spec.arn.as_str(), "arn:t/2", "what stops goes first");
        let duties = session().receive(payload("nat"), NOW);
        assert_eq!(kinds(&duties), ["keep", "accept 2 1", "remember 4"]);
        let nameless = frame("PayloadMessage", &serde_json::json!({ "tasks": [] }));
        assert_eq!(session().receive(nameless, NOW), []);
    }

    #[test]
    fn a_manifest_stops_only_what_was_offered_and_confirmed_once() {
        let mut session = session();
        let manifest = |timeline: i64| {
            frame(
                "TaskManifestMessage",
                &serde_json::json!({
                    "messageId": "m", "timeline": timeline,
                    "tasks": [{ "taskArn": "arn:t/1", "desiredStatus": "RUNNING" },
                              { "taskArn": "arn:t/2", "desiredStatus": "STOPPED" }],
                }),
            )
        };
        let duties = session.receive(manifest(7), NOW);
        assert_eq!(kinds(&duties), ["AckRequest", "remember 7", "compare 1"]);
        assert_eq!(session.receive(manifest(7), NOW), [], "stale");
        let offered = session.verify(vec![(TaskArn::new("arn:t/2"), "c".to_owned())]);
        assert_eq!(offered.as_ref().map(Message::kind), Some("TaskStopVerificationMessage"));
        let ack = frame(
            "TaskStopVerificationAck",
            &serde_json::json!({
                "messageId": "m", "stopTasks": [{ "taskArn": "arn:t/2" }, { "taskArn": "arn:t/9" }],
            }),
        );
        let stop = Input::Stop(vec![TaskArn::new("arn:t/2")]);
        assert_eq!(session.receive(ack.clone(), NOW), [Duty::Accept(vec![stop], Vec::new())]);
        assert_eq!(session.receive(ack, NOW), [], "confirmed before");
    }
}
