//! Attributes that users give.

use crate::api::*;
use crate::records::ContainerInstance;
use crate::testing::{World, ready, registration};
use chassis::Principal;
use wire::ecs;

fn attribute(target: &ContainerInstance, name: &str, value: Option<&str>) -> ecs::Attribute {
    ecs::Attribute {
        name: Some(name.to_owned()),
        value: value.map(str::to_owned),
        target_type: None,
        target_id: Some(target.arn().to_string()),
    }
}

fn put(world: &World, attributes: Vec<ecs::Attribute>) -> Result<usize, wire::Fault> {
    let request = ecs::PutAttributesRequest { cluster: None, attributes: Some(attributes) };
    ready(put_attributes(&world.root(), request))
        .map(|answer| answer.attributes.expect("a list").len())
        .map_err(|error| error.fault())
}

fn delete(world: &World, attributes: Vec<ecs::Attribute>) -> Vec<String> {
    let request = ecs::DeleteAttributesRequest { cluster: None, attributes: Some(attributes) };
    let answer = ready(delete_attributes(&world.root(), request)).expect("deleted");
    let gone = answer.attributes.expect("a list");
    gone.into_iter().map(|attribute| attribute.name.expect("a name")).collect()
}

fn list(world: &World, name: Option<&str>, value: Option<&str>) -> Vec<ecs::Attribute> {
    let mut seen = vec![];
    let mut token = None;
    loop {
        let request = ecs::ListAttributesRequest {
            target_type: Some("container-instance".to_owned()),
            attribute_name: name.map(str::to_owned),
            attribute_value: value.map(str::to_owned),
            max_results: Some(2),
            next_token: token,
            cluster: None,
        };
        let page = list_attributes(&world.root(), &request).expect("listed");
        seen.extend(page.attributes.expect("a list"));
        token = page.next_token;
        if token.is_none() {
            return seen;
        }
    }
}

#[test]
fn what_a_user_gave_outlasts_the_agents_next_registration() {
    let world = World::new();
    let instance = world.instance(1);
    put(&world, vec![attribute(&instance, "stack", Some("prod")), attribute(&instance, "x", None)])
        .expect("put");
    let mut request = registration();
    request.container_instance_arn = Some(instance.arn().to_string());
    let host = instance.ec2_instance.clone().expect("an EC2 instance");
    let cx = world.cx(Principal::Instance(host));
    let again = ready(register_container_instance(&cx, request)).expect("registered");
    let all = again.container_instance.expect("shown").attributes.expect("attributes");
    let value = |name: &str| all.iter().find(|a| a.name.as_deref() == Some(name)).cloned();
    assert_eq!(value("stack").expect("there").value.as_deref(), Some("prod"));
    assert_eq!(value("x").expect("there").value, None);
    assert!(value("ecs.os-type").is_some());

    assert_eq!(delete(&world, vec![attribute(&instance, "stack", None)]), ["stack"]);
    assert_eq!(delete(&world, vec![attribute(&instance, "stack", None)]), Vec::<String>::new());
    let record = world.instance_record(&instance.id);
    assert!(!record.attributes.contains_key("stack") && record.attributes.contains_key("x"));
}

#[test]
fn lists_filter_by_name_and_value() {
    let world = World::new();
    let (one, two) = (world.instance(1), world.instance(2));
    put(&world, vec![attribute(&one, "stack", Some("a")), attribute(&two, "stack", Some("b"))])
        .expect("put");
    let records = [&one, &two].map(|instance| world.instance_record(&instance.id));
    let all: usize = records.iter().map(|record| record.attributes.len()).sum();
    assert_eq!(list(&world, None, None).len(), all);
    assert_eq!(list(&world, Some("stack"), None).len(), 2);
    let found = list(&world, Some("stack"), Some("b"));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].target_id, Some(two.arn().to_string()));
    let nameless =
        ecs::ListAttributesRequest { attribute_value: Some("b".to_owned()), ..Default::default() };
    assert!(list_attributes(&world.root(), &nameless).is_err());
}

#[test]
fn what_cannot_be_put_is_refused() {
    let world = World::new();
    let instance = world.instance(1);
    let named = |name: &str| attribute(&instance, name, Some("v"));
    let valued = |value: &str| attribute(&instance, "n", Some(value));
    let numbered = |range: std::ops::Range<u8>| range.map(|n| named(&format!("n{n}"))).collect();
    let revision = world.view().revision();
    let mut short = named("n");
    short.target_id = Some(instance.id.to_string());
    let mut missing = named("n");
    missing.target_id =
        Some(instance.arn().to_string().replace(instance.id.as_str(), &"0".repeat(32)));
    for (attributes, code) in [
        (vec![], "InvalidParameterException"),
        (numbered(0..11), "InvalidParameterException"),
        (vec![named("ecs.os-type")], "InvalidParameterException"),
        (vec![named("com.amazonaws.ecs.capability.x")], "InvalidParameterException"),
        (vec![named("a b")], "InvalidParameterException"),
        (vec![named("")], "InvalidParameterException"),
        (vec![named(&"n".repeat(129))], "InvalidParameterException"),
        (vec![valued(" v")], "InvalidParameterException"),
        (vec![valued("v;")], "InvalidParameterException"),
        (vec![valued("")], "InvalidParameterException"),
        (vec![short.clone()], "InvalidParameterException"),
        (vec![named("n"), missing], "TargetNotFoundException"),
    ] {
        assert_eq!(put(&world, attributes.clone()).expect_err(code).code, code, "{attributes:?}");
    }
    assert_eq!(world.view().revision(), revision, "a refusal leaves no trace");

    short.target_type = Some("container-instance".to_owned());
    assert_eq!(put(&world, vec![short]), Ok(1));
    assert_eq!(put(&world, numbered(0..9)), Ok(9));
    let fault = put(&world, numbered(9..10)).expect_err("the eleventh");
    assert_eq!(fault.code, "AttributeLimitExceededException");
    assert_eq!(put(&world, numbered(0..9)), Ok(9), "others are replaced");
}
