//! The participants of the demo. The ids are those of `sql/demo.sql`; a test compares them.

/// A business of the demo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DemoBusiness {
    /// The business's UUID in canonical text form.
    pub id: &'static str,
    /// The business's name, as the page shows it.
    pub name: &'static str,
}

/// All businesses of the demo.
pub const BUSINESSES: [DemoBusiness; 4] = [
    DemoBusiness {
        id: "a4b1c7d2-53e8-4f0a-9c16-2e7d8b90f3a1",
        name: "Peluquería Los Ceibos",
    },
    DemoBusiness {
        id: "d90e5f13-6b2c-4d7e-8a41-c35f7e12b684",
        name: "Clínica Dental Sonrisas",
    },
    DemoBusiness {
        id: "7c36a8e4-19fd-4b52-b0c7-84d1f6e39a25",
        name: "Taller Hermanos Vera",
    },
    DemoBusiness {
        id: "e85d20b7-f4a9-4c13-9e68-15b7c04a2d9f",
        name: "Spa Luna de Mompiche",
    },
];

/// The user of the demo's tokens. In the demo's database it is an `admin_sistema`, who may read
/// every business.
pub const ADMIN_USER: &str = "2d440648-fd21-49e2-ab5c-7232725e1b54";

/// The ids of the clients who book citas.
pub(super) const CLIENT_IDS: [&str; 4] = [
    "c9cfce9f-ec5b-4538-af19-bb5e2248e40e",
    "6c59af7f-369e-468c-9f30-518e8812beb9",
    "0b8f6c0e-7a43-4c38-9d51-6f1f3f6f0c21",
    "f3f3c7de-2f0b-4a0e-8f57-9b1c2f1f7a60",
];

/// Finds a business by its id. The result is this module's own constant and safe in SQL; the given
/// text is not used any further.
pub fn find_business(id: &str) -> Option<&'static DemoBusiness> {
    BUSINESSES
        .iter()
        .find(|business| business.id.eq_ignore_ascii_case(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demo_data_contains_all_businesses() {
        let data = include_str!("../../../sql/demo.sql");
        for DemoBusiness { id, name } in BUSINESSES {
            assert!(
                data.contains(&format!("('{id}', ")) && data.contains(&format!("'{name}'")),
                "{name}"
            );
            assert_eq!(uuid::Uuid::try_parse(id).unwrap().to_string(), id);
        }
        for id in CLIENT_IDS.iter().chain([&ADMIN_USER]) {
            assert!(data.contains(&format!("('{id}', ")), "{id}");
        }
    }

    #[test]
    fn unknown_business_is_not_found() {
        assert_eq!(
            find_business(&BUSINESSES[1].id.to_uppercase()),
            Some(&BUSINESSES[1])
        );
        for id in ["", "' OR true --", "00000000-0000-0000-0000-000000000000"] {
            assert_eq!(find_business(id), None);
        }
    }
}
