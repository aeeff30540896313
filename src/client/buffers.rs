//! Floor 4. Read buffers: taken when a task runs, given back before it sleeps. Ten thousand idle clients hold none.

use parking_lot::Mutex;

/// How much is read at once, and how much of a client's input may wait.
pub(super) const CHUNK: usize = 64 * 1024;

/// A few buffers of [`CHUNK`] bytes, for as many tasks as run at the same time.
#[derive(Default)]
pub struct Buffers(Mutex<Vec<Vec<u8>>>);

impl Buffers {
    /// An empty buffer with room for a chunk.
    pub fn take(&self) -> Vec<u8> {
        self.0.lock().pop().unwrap_or_else(|| Vec::with_capacity(CHUNK))
    }

    /// Gives it back; one that has grown, or was swapped for a small one, is dropped.
    pub fn put(&self, mut buffer: Vec<u8>) {
        if buffer.capacity() < CHUNK || buffer.capacity() > 2 * CHUNK {
            return;
        }
        buffer.clear();
        let mut kept = self.0.lock();
        if kept.len() < KEEP {
            kept.push(buffer);
        }
    }
}

const KEEP: usize = 64;
