//! The app's objects in the database, and what serving it needs.

use latido_postgres::{AppSchema, TableGrant};

use crate::name::NAME;

/// The tables, triggers and functions of the app. The tables of messages stay when it is
/// uninstalled: they are data of the application. The sequence stays with them, so that a later
/// installation continues above the highest position. The change log and the notifications are the
/// app's own.
pub static SCHEMA: AppSchema = AppSchema {
    app: NAME,
    version_table: "messaging_changes",
    install_sql: include_str!("../../../../../sql/apps/messaging.sql"),
    uninstall_sql: include_str!("../../../../../sql/apps/messaging_uninstall.sql"),
    kept: &[
        "conversations",
        "conversation_members",
        "messages",
        "delivery_statuses",
        "message_reactions",
        "messaging_position",
    ],
    grants: &[
        TableGrant::new("conversations", "SELECT", &[]),
        // For the lock of the row.
        TableGrant::new("conversations", "UPDATE", &["updated_at"]),
        TableGrant::new("conversation_members", "SELECT", &[]),
        TableGrant::new("conversation_members", "UPDATE", &["last_read_at"]),
        TableGrant::new("messages", "SELECT", &[]),
        TableGrant::new("messages", "INSERT", &[]),
        TableGrant::new(
            "messages",
            "UPDATE",
            &[
                "content",
                "metadata",
                "edited_at",
                "is_deleted",
                "delete_for_everyone",
            ],
        ),
        TableGrant::new("delivery_statuses", "SELECT", &[]),
        TableGrant::new("delivery_statuses", "INSERT", &[]),
        TableGrant::new("delivery_statuses", "UPDATE", &["delivered_at", "read_at"]),
        TableGrant::new("message_reactions", "SELECT", &[]),
        TableGrant::new(
            "message_reactions",
            "INSERT",
            &["message_id", "user_id", "reaction"],
        ),
        TableGrant::new("message_reactions", "DELETE", &[]),
        TableGrant::new("messaging_changes", "SELECT", &[]),
        TableGrant::new("messaging_notifications", "SELECT", &[]),
        TableGrant::new(
            "messaging_notifications",
            "INSERT",
            &["id", "user_id", "payload"],
        ),
    ],
    called_functions: &[
        "messaging_forget",
        "messaging_member",
        "messaging_enter",
        "messaging_send",
        "messaging_edit",
        "messaging_delete",
        "messaging_receipt",
        "messaging_read_all",
        "messaging_react",
        "messaging_unreact",
    ],
};
