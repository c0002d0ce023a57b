//! Packets from the server. Each function appends to the caller's buffer, so that the type of an
//! Engine.IO message can stand before it.

use std::fmt::Write as _;

use super::attachments::push_placeholder;
use crate::engineio::Version;
use crate::json::push_json_string;

/// The fields of an event or an acknowledgement before its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PacketHeader<'a> {
    /// The namespace, such as `/`.
    pub namespace: &'a str,
    /// The id of an acknowledgement, or of an event that expects one.
    pub id: Option<u64>,
    /// The number of messages with bytes that the caller sends after the packet.
    pub attachments: usize,
}

/// An argument to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Argument<'a> {
    /// A value as JSON text.
    Json(&'a str),
    /// Bytes, which the caller sends after the packet, each argument in its own message.
    Binary(&'a [u8]),
}

/// Appends an event. `args` are the JSON texts of its arguments, separated by commas; placeholders
/// in them refer to the attachments.
pub fn push_event(out: &mut String, header: &PacketHeader<'_>, name: &str, args: &str) {
    push_header(out, header, '2', '5');
    push_name(out, name);
    if !args.is_empty() {
        out.push(',');
        out.push_str(args);
    }
    out.push(']');
}

/// Appends an event with a list of arguments. Bytes among them become placeholders.
pub fn push_event_arguments(
    out: &mut String,
    namespace: &str,
    id: Option<u64>,
    name: &str,
    args: &[Argument<'_>],
) {
    push_header(out, &header_of(namespace, id, args), '2', '5');
    push_name(out, name);
    if !args.is_empty() {
        out.push(',');
        push_arguments(out, args);
    }
    out.push(']');
}

/// Appends an acknowledgement. `args` are the JSON texts of its arguments, separated by commas.
pub fn push_ack(out: &mut String, header: &PacketHeader<'_>, args: &str) {
    push_header(out, header, '3', '6');
    out.push('[');
    out.push_str(args);
    out.push(']');
}

/// Appends an acknowledgement with a list of arguments. Bytes among them become placeholders.
pub fn push_ack_arguments(out: &mut String, namespace: &str, id: u64, args: &[Argument<'_>]) {
    push_header(out, &header_of(namespace, Some(id), args), '3', '6');
    out.push('[');
    push_arguments(out, args);
    out.push(']');
}

/// Appends the confirmation that a socket is connected. Only version 4 names the socket's id.
pub fn push_connect(out: &mut String, version: Version, namespace: &str, sid: &str) {
    out.push('0');
    push_namespace(out, namespace);
    if version == Version::V4 {
        out.push_str(r#"{"sid":"#);
        push_json_string(out, sid);
        out.push('}');
    }
}

/// Appends the notice that a socket is disconnected from a namespace.
pub fn push_disconnect(out: &mut String, namespace: &str) {
    out.push('1');
    push_namespace(out, namespace);
}

/// Appends the refusal of a connection. `data` is JSON text, which version 3 sends in place of the
/// message.
pub fn push_connect_error(
    out: &mut String,
    version: Version,
    namespace: &str,
    message: &str,
    data: Option<&str>,
) {
    out.push('4');
    push_namespace(out, namespace);
    match (version, data) {
        (Version::V3, Some(data)) => out.push_str(data),
        (Version::V3, None) => push_json_string(out, message),
        (Version::V4, data) => {
            out.push_str(r#"{"message":"#);
            push_json_string(out, message);
            if let Some(data) = data {
                out.push_str(r#","data":"#);
                out.push_str(data);
            }
            out.push('}');
        }
    }
}

/// Appends the refusal of a namespace that does not exist. It is the same in both versions.
pub fn push_invalid_namespace(out: &mut String, namespace: &str) {
    push_connect_error(out, Version::V4, namespace, "Invalid namespace", None);
}

fn push_namespace(out: &mut String, namespace: &str) {
    if namespace != "/" {
        out.push_str(namespace);
        out.push(',');
    }
}

fn push_header(out: &mut String, header: &PacketHeader<'_>, plain: char, binary: char) {
    if header.attachments == 0 {
        out.push(plain);
    } else {
        out.push(binary);
        // Writing to a String cannot fail.
        let _ = write!(out, "{}-", header.attachments);
    }
    push_namespace(out, header.namespace);
    if let Some(id) = header.id {
        let _ = write!(out, "{id}");
    }
}

fn push_name(out: &mut String, name: &str) {
    out.push('[');
    push_json_string(out, name);
}

fn push_arguments(out: &mut String, args: &[Argument<'_>]) {
    let mut placeholders = 0;
    for (index, arg) in args.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        match arg {
            Argument::Json(json) => out.push_str(json),
            Argument::Binary(_) => {
                push_placeholder(out, placeholders);
                placeholders += 1;
            }
        }
    }
}

fn header_of<'a>(namespace: &'a str, id: Option<u64>, args: &[Argument<'_>]) -> PacketHeader<'a> {
    let attachments = args
        .iter()
        .filter(|arg| matches!(arg, Argument::Binary(_)))
        .count();
    PacketHeader {
        namespace,
        id,
        attachments,
    }
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
