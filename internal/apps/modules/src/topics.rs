//! The names of the app's topics. Each kind has its own prefix, so that no id can form the name of
//! another topic.

use latido_base::ident::UserId;
use latido_event_bus::{JoinRequest, TopicName};

use crate::identity::Person;
use crate::page::Page;

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
pub(super) fn admins_on(page: Page) -> TopicName {
    TopicName::new(&format!("admins-on:{}", page.name()))
}

/// Returns the topic of the clients that show a page. It is used for counting only; nothing is
/// published on it.
pub(super) fn viewers(page: Page) -> TopicName {
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
pub(super) fn joins(person: &Person, page: Option<Page>) -> Vec<JoinRequest> {
    let mut names = vec![everyone(), user(&person.user)];
    if person.is_admin {
        names.push(admins());
    }
    if let Some(page) = page {
        names.extend(of_page(person, page));
    }
    names.into_iter().map(JoinRequest::new).collect()
}

/// Returns the topics that a page adds to those of the identity.
pub(super) fn of_page(person: &Person, page: Page) -> Vec<TopicName> {
    let mut names = vec![viewers(page)];
    if page == Page::Modules {
        names.push(user_on_modules(&person.user));
    }
    if person.is_admin {
        names.push(admins_on(page));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(is_admin: bool, page: Option<Page>) -> Vec<String> {
        let person = Person {
            is_admin,
            ..Person::fake("7")
        };
        joins(&person, page)
            .iter()
            .map(|join| join.topic.as_str().to_owned())
            .collect()
    }

    #[test]
    fn page_grants_nothing_beyond_the_identity() {
        assert_eq!(names(false, None), ["all", "user:7"]);
        assert_eq!(
            names(false, Some(Page::Admin)),
            ["all", "user:7", "viewers:admin"]
        );
        assert_eq!(
            names(false, Some(Page::Modules)),
            ["all", "user:7", "viewers:modules", "modules-of:7"]
        );
        assert_eq!(
            names(true, Some(Page::Admin)),
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
