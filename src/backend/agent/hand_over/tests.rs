use serde_json::json;

use super::*;

fn names(config: &serde_json::Value) -> Option<Vec<String>> {
    let config: Config = serde_json::from_value(config.clone()).unwrap();
    let calls = config.not_observed()?;
    Some(calls.iter().map(ToString::to_string).collect())
}

fn config(default: &str, rules: &serde_json::Value) -> serde_json::Value {
    json!({"linux": {"seccomp": {"defaultAction": default, "syscalls": rules}}})
}

#[test]
fn calls_that_are_executed_without_a_notification_are_not_observed() {
    let equal = json!([{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]);
    let rules = json!([
        {"names": ["read", "close"], "action": "SCMP_ACT_NOTIFY"},
        {"names": ["write"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["mount"], "action": "SCMP_ACT_ERRNO"},
        {"names": ["socket"], "action": "SCMP_ACT_NOTIFY", "args": equal},
    ]);
    let not_observed = names(&config("SCMP_ACT_ERRNO", &rules));
    assert_eq!(
        not_observed,
        Some(vec!["write".to_owned(), "socket".to_owned()])
    );
}

#[test]
fn a_profile_that_executes_what_it_does_not_name_observes_nobody_knows_what() {
    assert_eq!(names(&config("SCMP_ACT_ALLOW", &json!([]))), None);
    assert_eq!(names(&json!({"linux": {}})), None);
}

#[test]
fn an_image_has_a_short_name() {
    for (image, name) in [
        ("nginx", "nginx"),
        ("docker.io/library/nginx:1.25", "nginx"),
        ("localhost:5000/a/b@sha256:0123", "b"),
    ] {
        assert_eq!(short(image), name);
    }
}
