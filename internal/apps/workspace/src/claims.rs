//! The workspace claims of a token. Pure.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::wire::{AuthFrame, ClaimedUser, WireId};
use latido_auth::{Principal, TokenLifetime, VerifiedToken};
use latido_base::ident::UserId;

/// The claims that may contain the user's id. The first one that is present counts.
pub(super) const USER_CLAIMS: [&str; 4] = ["userId", "id", "user_id", "sub"];
/// The claim with the user's workspaces: `[{"workspaceId": …, "role": …}]`.
const WORKSPACES_CLAIM: &str = "workspaces";
const WORKSPACE_ID_MEMBER: &str = "workspaceId";
const ROLE_MEMBER: &str = "role";

/// The verified content of a token.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TokenClaims {
    pub(super) user: UserId,
    /// The id of each workspace and the user's role in it.
    workspaces: Vec<(Box<str>, Option<Arc<str>>)>,
    pub(super) principal: Arc<Principal>,
}

/// A user's membership of one workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WorkspaceMember {
    pub(super) workspace: Box<str>,
    pub(super) user: UserId,
    /// The user's id as JSON, in the form in which the client sent it.
    pub(super) user_json: Box<str>,
    pub(super) role: Option<Arc<str>>,
    /// The end of the token. `None` if there is no token.
    pub(super) lifetime: Option<TokenLifetime>,
}

impl TokenClaims {
    /// Reads the workspaces of a verified token. Malformed entries of the claim grant nothing.
    pub(super) fn from_verified(verified: VerifiedToken) -> Self {
        let VerifiedToken {
            user,
            principal,
            claims,
        } = verified;
        let entries = claims
            .get(WORKSPACES_CLAIM)
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let entry = |entry: &Value| {
            Some((
                WireId::parse(entry.get(WORKSPACE_ID_MEMBER)?)?.text,
                role_of_entry(entry),
            ))
        };
        let workspaces = entries.iter().filter_map(entry).collect();
        Self {
            user,
            workspaces,
            principal: Arc::new(principal),
        }
    }

    /// Returns the membership that an `auth` frame selects. Returns `None` unless the token
    /// contains both ids. The user's id may be missing in the frame; the workspace's may not.
    pub(super) fn membership(&self, auth: &AuthFrame) -> Option<WorkspaceMember> {
        let workspace = auth.workspace.as_ref()?;
        let (_, role) = self
            .workspaces
            .iter()
            .find(|(id, _)| *id == workspace.text)?;
        let user_json = match &auth.user {
            ClaimedUser::Missing => Value::from(self.user.as_str()).to_string().into(),
            ClaimedUser::Id(id) if *id.text == *self.user.as_str() => id.json.clone(),
            ClaimedUser::Id(_) | ClaimedUser::Invalid => return None,
        };
        Some(WorkspaceMember {
            workspace: workspace.text.clone(),
            user: self.user.clone(),
            user_json,
            role: role.clone(),
            lifetime: Some(self.principal.lifetime()),
        })
    }
}

/// Accepts the ids of an `auth` frame unchecked.
pub(super) fn unverified_membership(auth: &AuthFrame) -> Option<WorkspaceMember> {
    let (Some(workspace), ClaimedUser::Id(user)) = (&auth.workspace, &auth.user) else {
        return None;
    };
    Some(WorkspaceMember {
        workspace: workspace.text.clone(),
        user: UserId::new(&user.text),
        user_json: user.json.clone(),
        role: None,
        lifetime: None,
    })
}

fn role_of_entry(entry: &Value) -> Option<Arc<str>> {
    entry
        .get(ROLE_MEMBER)
        .and_then(Value::as_str)
        .map(Arc::from)
}

/// Returns `true` if a token that is not verified yet looks like a workspace token: it lists
/// workspaces, or it names the user with a claim that only this system uses.
pub(super) fn is_workspace_token(token: &str) -> bool {
    let payload = token
        .split('.')
        .nth(1)
        .and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let payload = payload
        .and_then(|json| String::from_utf8(json).ok())
        .unwrap_or_default();
    [WORKSPACES_CLAIM, USER_CLAIMS[0]]
        .iter()
        .any(|claim| payload.contains(&format!("\"{claim}\"")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use latido_auth::{Grants, TokenEnd};

    fn credentials(claims: &Value) -> TokenClaims {
        let principal = Principal::new(UserId::new("456"), 100, None, Grants::default());
        TokenClaims::from_verified(VerifiedToken {
            user: UserId::new("456"),
            principal,
            claims: claims.as_object().unwrap().clone(),
        })
    }

    fn auth(workspace: &Value, user: Option<Value>) -> AuthFrame {
        AuthFrame {
            workspace: WireId::parse(workspace),
            user: ClaimedUser::parse(user.as_ref()),
            token: None,
        }
    }

    #[test]
    fn membership_comes_from_the_token() {
        let token_claims = credentials(
            &json!({"workspaces": [{"workspaceId": 123, "role": "owner"}, {"workspaceId": "507f"}]}),
        );
        let member = token_claims
            .membership(&auth(&json!("123"), Some(json!(456))))
            .unwrap();
        assert_eq!(
            (
                &*member.workspace,
                &*member.user_json,
                member.role.as_deref()
            ),
            ("123", "456", Some("owner"))
        );
        let lifetime = member.lifetime.unwrap();
        assert_eq!(
            [104, 105].map(|now_s| lifetime.ended(now_s)),
            [None, Some(TokenEnd::Expired)]
        );
        assert_eq!(
            &*token_claims
                .membership(&auth(&json!("507f"), None))
                .unwrap()
                .user_json,
            r#""456""#
        );
        assert!(
            token_claims
                .membership(&auth(&json!("507f"), Some(json!("456"))))
                .is_some()
        );
        for (workspace, user) in [
            (json!(124), Some(json!(456))),
            (json!(123), Some(json!(457))),
            (json!(123), Some(json!(null))),
            (json!(123), Some(json!({}))),
            (json!(null), Some(json!(456))),
            (json!("0123"), Some(json!(456))),
        ] {
            assert_eq!(
                token_claims.membership(&auth(&workspace, user.clone())),
                None,
                "{workspace} {user:?}"
            );
        }
    }

    #[test]
    fn malformed_claim_grants_nothing() {
        for claim in [
            json!([]),
            json!("123"),
            json!([123]),
            json!([{"workspaceId": {"_id": 123}}]),
            json!({"workspaceId": 123}),
            json!(null),
        ] {
            assert_eq!(
                credentials(&json!({"workspaces": claim})).membership(&auth(&json!(123), None)),
                None,
                "{claim}"
            );
        }
    }

    #[test]
    fn unverified_membership_needs_both_ids() {
        assert!(unverified_membership(&auth(&json!(1), Some(json!(2)))).is_some());
        assert_eq!(
            [
                unverified_membership(&auth(&json!(1), None)),
                unverified_membership(&auth(&json!(null), Some(json!(2))))
            ],
            [None, None]
        );
    }

    #[test]
    fn workspace_tokens_are_recognized_before_verification() {
        let token = |claims: Value| format!("e30.{}.x", URL_SAFE_NO_PAD.encode(claims.to_string()));
        assert!(
            is_workspace_token(&token(json!({"userId": 1})))
                && is_workspace_token(&token(json!({"id": 1, "workspaces": []})))
        );
        assert!(
            !is_workspace_token(&token(json!({"id": 1, "email": "a@b"})))
                && !is_workspace_token("")
                && !is_workspace_token("a.%.c")
        );
    }
}
