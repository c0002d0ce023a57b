//! The names of the app's topics. Each kind has its own prefix, so that no id can form the name of
//! another topic.

use latido_base::ident::UserId;
use latido_event_bus::{JoinRequest, TopicName};

use crate::page::WebPage;
use crate::user::WebUser;

/// Returns the topic of every authenticated web client, which also lists the online users.
pub(super) fn everyone() -> TopicName {
    TopicName::new("all")
}

/// Returns the topic of every connection of a user.
pub(super) fn user(id: &UserId) -> TopicName {
    TopicName::new(&format!("user:{}", id.as_str()))
}

/// Returns the topic of a user's connections that show the modules page.
pub(super) fn user_on_modules(id: &UserId) -> TopicName {
    TopicName::new(&format!("modules-of:{}", id.as_str()))
}

/// Returns the topic of every administrator connection.
pub(super) fn admins() -> TopicName {
    TopicName::new("admins")
}

/// Returns the topic of the administrator connections that show a page.
pub(super) fn admins_on(page: WebPage) -> TopicName {
    TopicName::new(&format!("admins-on:{}", page.name()))
}

/// Returns the topic of the clients that show a page. It is used for counting only; nothing is
/// published on it.
pub(super) fn viewers(page: WebPage) -> TopicName {
    TopicName::new(&format!("viewers:{}", page.name()))
}

/// Returns the topic of a module's device.
pub(super) fn device(module: &str) -> TopicName {
    TopicName::new(&format!("module:{module}"))
}

/// Returns the topic of all connected devices, used for counting only.
pub(super) fn devices() -> TopicName {
    TopicName::new("devices")
}

/// Returns the joins of a user on a page. The page only narrows the data that the identity may see.
pub(super) fn joins_for(person: &WebUser, page: Option<WebPage>) -> Vec<JoinRequest> {
    let mut names = vec![everyone(), user(&person.id)];
    if person.is_admin {
        names.push(admins());
    }
    if let Some(page) = page {
        names.extend(page_topics(person, page));
    }
    names.into_iter().map(JoinRequest::new).collect()
}

/// Returns the topics that a page adds to those of the identity.
pub(super) fn page_topics(person: &WebUser, page: WebPage) -> Vec<TopicName> {
    let mut names = vec![viewers(page)];
    if page == WebPage::Modules {
        names.push(user_on_modules(&person.id));
    }
    if person.is_admin {
        names.push(admins_on(page));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(is_admin: bool, page: Option<WebPage>) -> Vec<String> {
        let person = WebUser {
            is_admin,
            ..WebUser::test_user("7")
        };
        joins_for(&person, page)
            .iter()
            .map(|join| join.topic.as_str().to_owned())
            .collect()
    }

    #[test]
    fn page_grants_nothing_beyond_the_identity() {
        assert_eq!(names(false, None), ["all", "user:7"]);
        assert_eq!(
            names(false, Some(WebPage::Admin)),
            ["all", "user:7", "viewers:admin"]
        );
        assert_eq!(
            names(false, Some(WebPage::Modules)),
            ["all", "user:7", "viewers:modules", "modules-of:7"]
        );
        assert_eq!(
            names(true, Some(WebPage::Admin)),
            [
                "all",
                "user:7",
                "admins",
                "viewers:admin",
                "admins-on:admin"
            ]
        );
    }

    #[test]
    fn ids_cannot_form_other_topics() {
        assert_ne!(
            user(&UserId::new("modules-of:1")),
            user_on_modules(&UserId::new("1"))
        );
        assert_ne!(device("admins"), admins());
    }
}
