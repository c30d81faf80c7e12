//! A few things that threads use together, made once each, the ones used last kept.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// At most so many values by key. A value that is being made is waited for, not made twice.
#[derive(Debug)]
pub struct Shared<K, V> {
    most: usize,
    /// The one used last comes last.
    slots: Mutex<Vec<(K, Arc<Slot<V>>)>>,
}

type Slot<V> = Mutex<Option<Arc<V>>>;

impl<K: PartialEq, V> Shared<K, V> {
    pub fn new(most: usize) -> Self {
        Self { most: most.max(1), slots: Mutex::default() }
    }

    /// The value of `key`, made if it is not there.
    ///
    /// # Errors
    /// It could not be made; the next one who asks tries again.
    pub fn get<E>(&self, key: K, make: impl FnOnce() -> Result<V, E>) -> Result<Arc<V>, E> {
        let slot = self.slot(key);
        let mut value = lock(&slot);
        if let Some(made) = &*value {
            return Ok(Arc::clone(made));
        }
        let made = Arc::new(make()?);
        *value = Some(Arc::clone(&made));
        Ok(made)
    }

    /// Drops a value, so that the next one who asks makes it anew.
    pub fn forget(&self, key: &K) {
        lock(&self.slots).retain(|(known, _)| known != key);
    }

    fn slot(&self, key: K) -> Arc<Slot<V>> {
        let mut slots = lock(&self.slots);
        let found = slots.iter().rposition(|(known, _)| *known == key);
        let (key, slot) = match found {
            Some(place) => slots.remove(place),
            None => (key, Arc::default()),
        };
        if slots.len() >= self.most {
            slots.remove(0);
        }
        slots.push((key, Arc::clone(&slot)));
        slot
    }
}

/// What a thread that panicked left behind is whole: values are put in place in one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn values_are_made_once_and_the_oldest_go_first() {
        let made = Cell::new(0);
        let shared = Shared::new(2);
        let get = |key: u32| {
            let make = || {
                made.set(made.get() + 1);
                Ok::<_, ()>(key * 10)
            };
            *shared.get(key, make).unwrap()
        };
        assert_eq!((get(1), get(2), get(1), made.get()), (10, 20, 10, 2));
        assert_eq!((get(3), get(1), made.get()), (30, 10, 3), "2 was used before 1, and has gone");
        assert_eq!((get(2), made.get()), (20, 4));
        shared.forget(&2);
        assert_eq!((get(2), made.get()), (20, 5));
    }

    #[test]
    fn what_could_not_be_made_is_tried_again() {
        let shared = Shared::<u32, u32>::new(2);
        assert_eq!(shared.get(1, || Err("trouble")), Err("trouble"));
        assert_eq!(shared.get(1, || Ok::<_, ()>(5)).as_deref(), Ok(&5));
    }
}
