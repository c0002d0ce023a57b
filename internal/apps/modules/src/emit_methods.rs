//! The methods of the emit API: each turns its arguments into a call. Pure.

use serde_json::{Value, json};

use latido_base::ident::UserId;

use crate::emit_call::{EmitArguments, EmitCall, EmitError};
use crate::events::{self, OutgoingEvent};
use crate::page::WebPage;
use crate::time_format::{Millis, to_iso_string};
use crate::topics;
use crate::user::id_to_json;

/// The user activities that administrators follow.
const FOLLOWED_ACTIVITIES: [&str; 3] = ["send_module_command", "module_added", "module_removed"];

type EmitResult = Result<EmitCall, EmitError>;

pub(super) fn module_online(arguments: &EmitArguments, _now: Millis) -> EmitResult {
    set_online(arguments, true)
}

pub(super) fn module_offline(arguments: &EmitArguments, _now: Millis) -> EmitResult {
    set_online(arguments, false)
}

fn set_online(arguments: &EmitArguments, online: bool) -> EmitResult {
    let module = arguments.module_id()?;
    Ok(EmitCall::SetOnline { module, online })
}

pub(super) fn module_last_seen(arguments: &EmitArguments, _now: Millis) -> EmitResult {
    Ok(EmitCall::RecordSeen {
        module: arguments.module_id()?,
        telemetry: None,
    })
}

pub(super) fn module_row(arguments: &EmitArguments, _now: Millis) -> EmitResult {
    let module = arguments.module_id()?;
    Ok(EmitCall::RefreshRow { module })
}

pub(super) fn telemetry(arguments: &EmitArguments, _now: Millis) -> EmitResult {
    match arguments.value("telemetry") {
        Value::Object(telemetry) => Ok(EmitCall::RecordSeen {
            module: arguments.module_id()?,
            telemetry: Some(telemetry),
        }),
        _ => Err(EmitError::InvalidArgument("telemetry")),
    }
}

pub(super) fn command_sent(arguments: &EmitArguments, now: Millis) -> EmitResult {
    let (module, command) = (arguments.module_id()?, arguments.text("command")?);
    let sender = UserId::new(&arguments.user_id()?);
    let events = events::command_sent_events(&module, &command, &sender, now);
    Ok(EmitCall::Publish(events.into()))
}

pub(super) fn command_response(arguments: &EmitArguments, _now: Millis) -> EmitResult {
    Ok(EmitCall::CommandResponse {
        module: arguments.module_id()?,
        command: arguments.text("command")?,
        status: arguments.text_or("status", "success"),
        position: arguments.value("position"),
    })
}

pub(super) fn user_logged_in(arguments: &EmitArguments, now: Millis) -> EmitResult {
    user_seen_by_admins(arguments, "rt_user_logged_in", "logged_in", now)
}

pub(super) fn user_logged_out(arguments: &EmitArguments, now: Millis) -> EmitResult {
    user_seen_by_admins(arguments, "rt_user_logged_out", "logged_out", now)
}

pub(super) fn user_registered(arguments: &EmitArguments, now: Millis) -> EmitResult {
    user_seen_by_admins(arguments, "admin:user:registered", "registered", now)
}

/// Publishes to administrators what a user did.
fn user_seen_by_admins(
    arguments: &EmitArguments,
    event: &'static str,
    action: &str,
    now: Millis,
) -> EmitResult {
    let (_, user) = arguments.user()?;
    let payload = json!({"action": action, "user": user, "timestamp": to_iso_string(now)});
    let event = OutgoingEvent::new(event, payload, [topics::admins()]);
    Ok(EmitCall::Publish(vec![event]))
}

pub(super) fn user_session_new(arguments: &EmitArguments, now: Millis) -> EmitResult {
    let user = UserId::new(&arguments.user_id()?);
    let message = arguments.text_or("message", "New session");
    let payload = json!({"message": message, "timestamp": to_iso_string(now)});
    let event = OutgoingEvent::new("user:session:new", payload, [topics::user(&user)]);
    Ok(EmitCall::Publish(vec![event]))
}

pub(super) fn user_welcome(arguments: &EmitArguments, now: Millis) -> EmitResult {
    let (id, user) = arguments.user()?;
    let message = arguments.text_or("message", "Welcome");
    let payload = json!({"message": message, "user": user, "timestamp": to_iso_string(now)});
    let event = OutgoingEvent::new("user:welcome", payload, [topics::user(&id)]);
    Ok(EmitCall::Publish(vec![event]))
}

pub(super) fn user_profile_updated(arguments: &EmitArguments, now: Millis) -> EmitResult {
    let (id, user) = arguments.user()?;
    let payload =
        json!({"action": "profile_updated", "user": user, "timestamp": to_iso_string(now)});
    let to = [topics::user(&id), topics::admins()];
    let event = OutgoingEvent::new("rt_user_profile_updated", payload, to);
    Ok(EmitCall::Publish(vec![event]))
}

pub(super) fn user_password_changed(arguments: &EmitArguments, now: Millis) -> EmitResult {
    let (id, at) = (arguments.user_id()?, to_iso_string(now));
    let message = arguments.text_or("message", "Password changed");
    let to_user = json!({"message": message, "timestamp": at});
    let mut to_admins =
        json!({"action": "password_changed", "userId": id_to_json(&id), "timestamp": at});
    if let Ok((_, user)) = arguments.user() {
        to_admins["user"] = user;
    }
    let user_topic = topics::user(&UserId::new(&id));
    Ok(EmitCall::Publish(vec![
        OutgoingEvent::new("user:security:password_changed", to_user, [user_topic]),
        OutgoingEvent::new("admin:user:password_changed", to_admins, [topics::admins()]),
    ]))
}

pub(super) fn user_activity(arguments: &EmitArguments, now: Millis) -> EmitResult {
    let (id, activity) = (arguments.user_id()?, arguments.text("activity")?);
    if !FOLLOWED_ACTIVITIES.contains(&&*activity) {
        return Ok(EmitCall::Publish(Vec::new()));
    }
    let details = arguments.value("details");
    let event = events::activity_event(&id_to_json(&id), &activity, &details, now);
    Ok(EmitCall::Publish(vec![event]))
}

pub(super) fn global_stats(_arguments: &EmitArguments, _now: Millis) -> EmitResult {
    Ok(EmitCall::PublishStats)
}

pub(super) fn admin_action(arguments: &EmitArguments, now: Millis) -> EmitResult {
    let admin = arguments.id("adminUserId")?;
    let payload = json!({
        "adminUserId": id_to_json(&admin),
        "action": arguments.text("action")?,
        "details": arguments.value("details"),
        "timestamp": to_iso_string(now),
    });
    let event = OutgoingEvent::new("admin:action:performed", payload, [topics::admins()]);
    Ok(EmitCall::Publish(vec![OutgoingEvent {
        except_user: Some(UserId::new(&admin)),
        ..event
    }]))
}

pub(super) fn users_list_changed(arguments: &EmitArguments, now: Millis) -> EmitResult {
    let user = arguments.user().map(|(_, user)| user).unwrap_or_default();
    let change = arguments.text("changeType")?;
    let payload = json!({"changeType": change, "user": user, "timestamp": to_iso_string(now)});
    Ok(to_admin_page("admin:users:list_changed", payload))
}

pub(super) fn modules_list_changed(arguments: &EmitArguments, now: Millis) -> EmitResult {
    let change = arguments.text("changeType")?;
    let module = arguments.value("module");
    let payload = json!({"changeType": change, "module": module, "timestamp": to_iso_string(now)});
    Ok(to_admin_page("admin:modules:list_changed", payload))
}

/// Publishes an event to the administrators who show the administrators' page.
fn to_admin_page(event: &'static str, payload: Value) -> EmitCall {
    let event = OutgoingEvent::new(event, payload, [topics::admins_on(WebPage::Admin)]);
    EmitCall::Publish(vec![event])
}

pub(super) fn system_maintenance(arguments: &EmitArguments, now: Millis) -> EmitResult {
    let payload = json!({
        "inMaintenance": arguments.flag("inMaintenance")?,
        "reason": arguments.value("reason"),
        "adminUserId": arguments.value("adminUserId"),
        "timestamp": to_iso_string(now),
    });
    let event = OutgoingEvent::new("system:maintenance", payload, [topics::everyone()]);
    Ok(EmitCall::Publish(vec![event]))
}

pub(super) fn system_alert(arguments: &EmitArguments, now: Millis) -> EmitResult {
    let level = arguments.text("level")?;
    let topic = if matches!(&*level, "critical" | "error") {
        topics::admins()
    } else {
        topics::admins_on(WebPage::Admin)
    };
    let payload = json!({
        "level": level,
        "message": arguments.text("message")?,
        "details": arguments.value("details"),
        "timestamp": to_iso_string(now),
    });
    let event = OutgoingEvent::new("system:alert", payload, [topic]);
    Ok(EmitCall::Publish(vec![event]))
}

pub(super) fn performance(arguments: &EmitArguments, now: Millis) -> EmitResult {
    let performance = arguments.value("performance");
    if performance.is_null() {
        return Err(EmitError::InvalidArgument("performance"));
    }
    let payload = json!({"performance": performance, "timestamp": to_iso_string(now)});
    Ok(to_admin_page("admin:performance:updated", payload))
}
