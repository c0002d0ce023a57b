//! The streams that a catalog has ever had, by their id. Streams are added and never removed, so a
//! reference to one stays valid, and reading takes no lock.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crate::definition::Stream;
use crate::stream_status::StreamStatus;
use latido_base::ident::StreamId;

/// The number of streams in one block. Blocks come into being when they are needed.
const BLOCK: usize = 256;
/// The number of blocks, which covers all ids.
const BLOCKS: usize = 256;

/// A stream with what the server knows about it.
#[derive(Debug)]
pub(crate) struct CatalogSlot {
    pub(crate) stream: Arc<Stream>,
    pub(crate) status: StreamStatus,
    /// True once the stream was removed, or another definition has replaced it. Set before the
    /// catalog lists the streams that replace it.
    pub(crate) is_retired: AtomicBool,
}

type Block = Box<[OnceLock<CatalogSlot>]>;

/// The slots of all streams; see the module's documentation.
#[derive(Debug)]
pub(crate) struct CatalogSlots {
    blocks: Box<[OnceLock<Block>]>,
    /// The number of slots in use. It is raised after the slot was filled.
    len: AtomicUsize,
}

impl Default for CatalogSlots {
    fn default() -> Self {
        Self {
            blocks: (0..BLOCKS).map(|_| OnceLock::new()).collect(),
            len: AtomicUsize::new(0),
        }
    }
}

impl CatalogSlots {
    /// The number of streams that fit: all ids but that of the system stream, which is the last.
    pub(crate) const CAPACITY: usize = BLOCK * BLOCKS - 1;

    /// Returns the number of streams so far.
    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    /// Adds a stream. Only one thread may add at a time. Returns `None` if no id is left.
    pub(crate) fn push(&self, stream: Arc<Stream>, status: StreamStatus) -> Option<StreamId> {
        let index = self.len();
        let id = u16::try_from(index)
            .ok()
            .filter(|_| index < Self::CAPACITY)?;
        let block = self.blocks.get(index / BLOCK)?;
        let block = block.get_or_init(|| (0..BLOCK).map(|_| OnceLock::new()).collect());
        let slot = CatalogSlot {
            stream,
            status,
            is_retired: AtomicBool::new(false),
        };
        block.get(index % BLOCK)?.set(slot).ok()?;
        self.len.store(index + 1, Ordering::Release);
        Some(StreamId(id))
    }

    /// Returns the slot with an id that [`Self::push`] returned.
    pub(crate) fn get(&self, id: StreamId) -> Option<&CatalogSlot> {
        let index = usize::from(id.0);
        self.blocks
            .get(index / BLOCK)?
            .get()?
            .get(index % BLOCK)?
            .get()
    }
}
