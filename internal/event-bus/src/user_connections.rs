//! The connections of one user.

/// The indices of a user's connections. One connection, which nearly every user has, takes no heap
/// memory.
#[derive(Debug)]
pub(super) enum UserConnections {
    One([u32; 1]),
    Several(Vec<u32>),
}

impl UserConnections {
    pub(super) fn new(conn: u32) -> Self {
        Self::One([conn])
    }

    pub(super) fn as_slice(&self) -> &[u32] {
        match self {
            Self::One(conn) => conn,
            Self::Several(conns) => conns,
        }
    }

    pub(super) fn push(&mut self, conn: u32) {
        match self {
            Self::One([first]) => *self = Self::Several(vec![*first, conn]),
            Self::Several(conns) => conns.push(conn),
        }
    }

    /// Removes the connection at a position, which the last one takes. Returns `false` if it was
    /// the only one, which stays.
    pub(super) fn swap_remove(&mut self, position: usize) -> bool {
        let Self::Several(conns) = self else {
            return false;
        };
        conns.swap_remove(position);
        if let [last] = conns.as_slice() {
            *self = Self::One([*last]);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_connection_takes_the_place_of_the_removed_one() {
        let mut conns = UserConnections::new(5);
        assert!(!conns.swap_remove(0));
        conns.push(6);
        conns.push(7);
        assert!(conns.swap_remove(0));
        assert_eq!(conns.as_slice(), [7, 6]);
        assert!(conns.swap_remove(1));
        assert_eq!(conns.as_slice(), [7]);
        assert!(!conns.swap_remove(0));
        conns.push(8);
        assert_eq!(conns.as_slice(), [7, 8]);
        assert!(size_of::<UserConnections>() <= 24);
    }
}
