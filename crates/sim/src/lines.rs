//! The connections of agents and cards, and what the sockets around them do.
//!
//! A connection keeps its order and loses nothing, until it breaks: then each
//! side notices when it notices.

use crate::mail::Mail;
use crate::plane::{AgentLine, CardLine, ready, scope};
use crate::world::{Answer, World};
use agent::acs::{Duty, Session};
use chassis::{Query, SocketService as _};
use ec2::CardSession;
use ecs::acs::{AcsService, AcsSession, connect, disconnect};
use ecs::records::VersionInfo;
use ident::ContainerInstanceId;
use net::plan::{CardPlan, CardReport};
use wire::acs::Message;

/// How long a node hears nothing before it hangs up, in milliseconds.
const PATIENCE: u64 = 90_000;

impl World {
    /// Everybody who has something to say on a connection says it.
    pub(crate) fn converse(&mut self) {
        for node in 0..self.nodes.len() {
            self.keep_connected(node);
            self.poll_agent_session(node);
            self.poll_card_session(node);
            self.drive_agent(node);
            self.drive_card(node);
        }
    }

    /// Nothing reaches a node any more, until [`Self::join`].
    pub fn cut_off(&mut self, node: usize) {
        self.nodes[node].cut_off = true;
        self.hang_up(node);
    }

    /// A node that was cut off reaches others again.
    pub fn join(&mut self, node: usize) {
        self.nodes[node].cut_off = false;
        self.note(&format!("node {node} is reached again"));
    }

    fn keep_connected(&mut self, node: usize) {
        if self.nodes[node].cut_off {
            return;
        }
        let agent = &self.nodes[node].agent;
        if agent.session.is_some() && self.now - agent.heard_at > PATIENCE {
            self.note(&format!("agent {node} hears nothing and hangs up"));
            self.hang_up_agent(node);
        }
        if self.nodes[node].agent.session.is_none() && self.rng.one_in(3) {
            self.connect_agent(node);
        }
        if self.nodes[node].card.line.is_none() && self.rng.one_in(3) {
            self.connect_card(node);
        }
    }

    fn connect_agent(&mut self, node: usize) {
        let Some(arn) = self.registered(node) else { return };
        let machine = self.nodes[node].id.clone();
        let opened = self.call(|plane| {
            let cx = plane.node(&machine);
            let service = AcsService::new(plane.sessions.clone());
            let query = Query::from([("containerInstanceArn".to_owned(), arn.clone())]);
            ready(service.admit(&cx, &query))
        });
        match opened {
            Answer::None => return,
            Answer::Refused(fault) if fault.code == "InactiveInstanceException" => {
                self.come_anew(node);
                return;
            }
            Answer::Refused(fault) => {
                self.fail(&format!("agent {node} is not admitted: {fault:?}"));
            }
            Answer::Given(()) => {}
        }
        let line = self.new_line();
        let now = self.clock_now();
        let Some(plane) = &mut self.plane else { return };
        let id = format!("{:032x}", plane.platform.bits());
        let instance: ContainerInstanceId =
            arn.rsplit('/').next().unwrap_or_default().parse().expect("the ARN of an instance");
        // As the socket does it: the seat first, then the note in the state.
        let seat = plane.sessions.open(&scope(), &instance, &id);
        let version = VersionInfo::default();
        let Ok(Some(record)) = ready(connect(&plane.platform, &seat, &version)) else { return };
        let session = AcsSession::new(&record, &*id, now);
        let newer = AgentLine { line, instance, id, session, seat };
        if let Some(older) = plane.agents.insert(node, newer) {
            self.end_agent_line(older);
        }
        let here = &mut self.nodes[node];
        let latest = here.agent.disk.latest.unwrap_or(-1);
        here.agent.session = Some((line, Session::new(&here.cluster, &arn, latest)));
        here.agent.heard_at = self.now;
        self.note(&format!("agent {node} is connected ({line})"));
    }

    /// The socket's last act: the seat is free, and some time later that is noted.
    fn end_agent_line(&mut self, ended: AgentLine) {
        let AgentLine { instance, id, seat, .. } = ended;
        drop(seat);
        let due = self.soon();
        self.post.send(due, Mail::Disconnect { instance, session: id });
    }

    fn connect_card(&mut self, node: usize) {
        if matches!(self.call(|_| Ok(())), Answer::None) {
            return;
        }
        let line = self.new_line();
        let id = self.nodes[node].id.clone();
        let Some(plane) = &mut self.plane else { return };
        plane.cards.insert(node, CardLine { line, session: CardSession::new(scope(), id) });
        self.nodes[node].card.line = Some(line);
    }

    fn poll_agent_session(&mut self, node: usize) {
        let now = self.clock_now();
        let Some(plane) = &mut self.plane else { return };
        let view = plane.view();
        let Some(open) = plane.agents.get_mut(&node) else { return };
        let line = open.line;
        if open.session.is_silent(now) {
            let ended = plane.agents.remove(&node);
            self.note(&format!("agent {node} is silent ({line})"));
            if let Some(ended) = ended {
                self.end_agent_line(ended);
            }
            let due = self.soon();
            self.post.send_on(line, false, due, Mail::NodeHearsEnd { node, line });
            return;
        }
        if open.session.is_over(&view) {
            if let Some(ended) = plane.agents.remove(&node) {
                self.end_agent_line(ended);
            }
            let due = self.soon();
            self.post.send_on(line, false, due, Mail::NodeHearsEnd { node, line });
            return;
        }
        for message in open.session.poll(&view, now) {
            let frame = message.encode().expect("our own frames are writable");
            if message.kind() != "HeartbeatMessage" {
                self.note(&format!("to agent {node}: {}", gist(&message)));
            }
            let due = self.soon();
            self.post.send_on(line, false, due, Mail::ToAgent { node, line, frame });
        }
    }

    fn poll_card_session(&mut self, node: usize) {
        let Some(plane) = &mut self.plane else { return };
        let view = plane.view();
        let Some(open) = plane.cards.get_mut(&node) else { return };
        let line = open.line;
        let Some(plan) = open.session.poll(&view) else { return };
        self.check_plan(node, &view, &plan);
        let due = self.soon();
        self.post.send_on(line, false, due, Mail::Plan { node, line, plan });
    }

    /// Brings what arrives on a connection to whoever is at its end.
    pub(crate) fn carry(&mut self, mail: Mail) {
        match mail {
            Mail::Plan { node, line, plan } => self.plan_arrives(node, line, plan),
            Mail::CardReport { node, line, report } => self.card_reports(node, line, &report),
            Mail::ToAgent { node, line, frame } => self.agent_hears(node, line, &frame),
            Mail::FromAgent { node, line, frame } => {
                let now = self.clock_now();
                let Some(plane) = &mut self.plane else { return };
                let view = plane.view();
                if let Some(open) = plane.agents.get_mut(&node).filter(|open| open.line == line) {
                    let message = Message::decode(&frame).expect("the agent's frames are sound");
                    open.session.on_frame(&view, &message, now);
                }
            }
            Mail::NodeHearsEnd { node, line } => {
                let node = &mut self.nodes[node];
                node.agent.session.take_if(|(open, _)| *open == line);
                node.card.line.take_if(|open| *open == line);
            }
            Mail::PlaneHearsEnd { node, line } => {
                let Some(plane) = &mut self.plane else { return };
                if plane.cards.get(&node).is_some_and(|open| open.line == line) {
                    plane.cards.remove(&node);
                }
                if plane.agents.get(&node).is_some_and(|open| open.line == line)
                    && let Some(ended) = plane.agents.remove(&node)
                {
                    self.end_agent_line(ended);
                }
            }
            Mail::Disconnect { instance, session } => {
                let Some(plane) = &self.plane else { return };
                // What fails here is put right by the controller for it.
                drop(ready(disconnect(&plane.platform, &scope(), &instance, &session)));
            }
            Mail::Apply { .. }
            | Mail::Work { .. }
            | Mail::News { .. }
            | Mail::Submit { .. }
            | Mail::Echo { .. }
            | Mail::Birth { .. }
            | Mail::Death { .. }
            | Mail::Run { .. }
            | Mail::Stop { .. } => {}
        }
    }

    fn agent_hears(&mut self, node: usize, line: u64, frame: &str) {
        let now = self.clock_now();
        let message = Message::decode(frame).expect("our own frames are sound");
        let agent = &mut self.nodes[node].agent;
        let Some((open, session)) = &mut agent.session else { return };
        if *open != line {
            return;
        }
        agent.heard_at = self.now;
        for duty in session.receive(message, now) {
            if self.rng.one_in(self.weather.agent_dies.saturating_mul(4)) {
                self.note(&format!("agent {node} dies over a frame"));
                self.restart_agent(node);
                return;
            }
            match duty {
                Duty::Send(message) => self.agent_says(node, line, &message),
                Duty::Accept(inputs, answers) => {
                    self.tell(node, inputs);
                    for answer in answers {
                        self.agent_says(node, line, &answer);
                    }
                }
                Duty::Compare(listed) => {
                    let agent = &mut self.nodes[node].agent;
                    let candidates = agent.engine.stop_candidates(&listed);
                    let question = agent.session.as_mut().and_then(|(_, s)| s.verify(candidates));
                    if let Some(question) = question {
                        self.agent_says(node, line, &question);
                    }
                }
                Duty::Remember(number) => self.nodes[node].agent.disk.latest = Some(number),
                Duty::Keep(task, given) => self.keep(node, task, *given),
            }
            // A process of its own may have begun meanwhile.
            if self.nodes[node].agent.session.as_ref().is_none_or(|(open, _)| *open != line) {
                return;
            }
        }
    }

    fn agent_says(&mut self, node: usize, line: u64, message: &Message) {
        if matches!(message, Message::TaskStopVerificationMessage(_)) {
            self.note(&format!("agent {node} asks what to stop"));
        }
        let frame = message.encode().expect("the agent's frames are writable");
        let due = self.soon();
        self.post.send_on(line, true, due, Mail::FromAgent { node, line, frame });
    }

    fn plan_arrives(&mut self, node: usize, line: u64, plan: CardPlan) {
        let odds = self.weather.eni_fails;
        let card = &mut self.nodes[node].card;
        if card.line != Some(line) {
            return;
        }
        let known = |id: &ident::EniId| {
            card.plan.iter().flat_map(|p| &p.vpcs).flat_map(|v| &v.enis).any(|e| e.eni == *id)
        };
        let tasks = plan.vpcs.iter().flat_map(|vpc| &vpc.enis);
        let fresh: Vec<_> = tasks
            .filter(|eni| eni.user == net::plan::EniUser::Task && !known(&eni.eni))
            .map(|eni| eni.eni.clone())
            .collect();
        for eni in fresh {
            if self.rng.one_in(odds) {
                card.cursed.insert(eni, "RTNETLINK answers: No space left on device".to_owned());
            }
        }
        card.take(plan);
    }

    fn drive_card(&mut self, node: usize) {
        let due = self.soon();
        let card = &mut self.nodes[node].card;
        let done = card.report.as_ref().map(|report| report.generation);
        if !card.busy && card.plan.is_some() && card.generation() != done {
            card.busy = true;
            let life = card.life;
            self.post.send(due, Mail::Apply { node, life });
        }
        // Saying it again, for no reason but that one may.
        if self.rng.one_in(self.weather.doubled.saturating_mul(10)) {
            self.report_card(node);
        }
    }

    pub(crate) fn apply_plan(&mut self, node: usize, life: u64) {
        let dies = self.rng.one_in(self.weather.card_dies);
        let there = &mut self.nodes[node];
        if there.card.life != life {
            return;
        }
        there.card.busy = false;
        there.card.apply(&mut there.kernel, dies);
        if dies {
            self.note(&format!("card {node} dies half-way"));
            self.restart_card(node);
        } else {
            self.report_card(node);
        }
    }

    /// A card also says all it knows when it connects.
    fn report_card(&mut self, node: usize) {
        let card = &self.nodes[node].card;
        let (Some(line), Some(report)) = (card.line, card.report.clone()) else { return };
        let due = self.soon();
        self.post.send_on(line, true, due, Mail::CardReport { node, line, report });
    }

    /// Also from a connection that is over: such a report may have been under way
    /// to another control plane, and the session promises to bear that.
    fn card_reports(&mut self, node: usize, line: u64, report: &CardReport) {
        let id = self.nodes[node].id.clone();
        let Some(plane) = &self.plane else { return };
        let stray = CardSession::new(scope(), id);
        let session = match plane.cards.get(&node) {
            Some(open) if open.line == line => &open.session,
            Some(_) | None => &stray,
        };
        // What fails here is reported again on the next connection.
        drop(ready(session.on_report(&plane.platform.store, report)));
    }

    /// Both connections of a node break.
    pub(crate) fn hang_up(&mut self, node: usize) {
        self.note(&format!("node {node} is cut off"));
        self.hang_up_agent(node);
        if let Some(line) = self.nodes[node].card.line.take() {
            self.lose_line(node, line);
        }
    }

    pub(crate) fn hang_up_agent(&mut self, node: usize) {
        if let Some((line, _)) = self.nodes[node].agent.session.take() {
            self.lose_line(node, line);
        }
    }

    /// The control plane notices soon, or only by the silence.
    fn lose_line(&mut self, node: usize, line: u64) {
        if self.rng.one_in(2) {
            let due = self.soon();
            self.post.send_on(line, true, due, Mail::PlaneHearsEnd { node, line });
        }
    }

    /// The control plane died: its end of every connection is gone.
    pub(crate) fn lose_lines(&mut self, node: usize) {
        let here = &self.nodes[node];
        let lines = [here.agent.session.as_ref().map(|(line, _)| *line), here.card.line];
        for line in lines.into_iter().flatten() {
            let due = self.soon();
            self.post.send_on(line, false, due, Mail::NodeHearsEnd { node, line });
        }
    }

    pub(crate) fn restart_card(&mut self, node: usize) {
        let line = self.nodes[node].card.line;
        self.nodes[node].card.restart();
        self.note(&format!("card {node} begins anew"));
        if let Some(line) = line {
            self.lose_line(node, line);
        }
    }
}

/// What a frame is about, in a few words.
fn gist(message: &Message) -> String {
    let Message::PayloadMessage(payload) = message else { return message.kind().to_owned() };
    let tasks = payload.tasks.iter().flatten().map(|task| {
        let arn = task.arn.as_deref().unwrap_or_default();
        let id = arn.rsplit('/').next().unwrap_or_default();
        format!("{} {}", &id[..6.min(id.len())], task.desired_status.as_deref().unwrap_or("?"))
    });
    format!("payload {}", tasks.collect::<Vec<_>>().join(", "))
}
