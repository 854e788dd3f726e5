//! The part of a runtime that all dialects share: slots, models in memory, the prefix cache.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::character::{Character, RuntimeFlavor};
use super::fault::Fault;
use super::generation::{Circumstances, FAULT_STREAM, Finish, Generation, Wanted, random};
use super::metrics::{self, Stats};
use super::prefix_cache::PrefixCache;
use super::residence::Residence;
use super::timing_headers::Times;
use super::vocabulary::Prompt;
use crate::base::clock::wall_now;

/// Cache tokens per slot: what a full cache is measured against.
const CACHE_TOKENS_PER_SLOT: u64 = 4096;

/// One served model.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) name: String,
    pub(super) residence: Mutex<Residence>,
    stats: Mutex<Stats>,
}

/// A generation request, whatever its dialect.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) model: Arc<Model>,
    pub(super) number: u64,
    pub(super) prompt: Prompt,
    pub(super) wanted: Wanted,
    /// Ollama's `keep_alive`: how long the model stays, `Some(None)` for ever.
    pub(super) keep_alive: Option<Option<Duration>>,
    pub(super) fault: Option<Fault>,
    pub(super) received: Instant,
}

/// The simulated runtime behind its dialects.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) character: Character,
    pub(super) models: Vec<Arc<Model>>,
    slots: Arc<Semaphore>,
    cache: Mutex<PrefixCache>,
    next_number: AtomicU64,
}

impl Engine {
    /// An idle runtime with nothing loaded.
    pub(super) fn new(character: Character) -> Self {
        let models = character.models.iter().map(|name| {
            Arc::new(Model {
                name: name.clone(),
                residence: Mutex::new(Residence::new(character.unload_after)),
                stats: Mutex::new(Stats::new()),
            })
        });
        Self {
            models: models.collect(),
            slots: Arc::new(Semaphore::new(slots(&character))),
            cache: Mutex::default(),
            next_number: AtomicU64::new(0),
            character,
        }
    }

    /// The position of the next generation request.
    pub(super) fn take_number(&self) -> u64 {
        self.next_number.fetch_add(1, Ordering::Relaxed)
    }

    /// What the plan has in store for request `number`.
    pub(super) fn planned_fault(&self, number: u64) -> Option<Fault> {
        let mut random = random(self.character.seed, number, FAULT_STREAM);
        self.character.faults.choose(number, &mut random)
    }

    /// The model of this name. As in Ollama, a missing tag means `latest`.
    pub(super) fn model(&self, name: &str) -> Option<&Arc<Model>> {
        let tagless = name.strip_suffix(":latest").unwrap_or(name);
        let matches = |model: &&Arc<Model>| {
            model.name == name
                || model.name.strip_suffix(":latest").unwrap_or(&model.name) == tagless
        };
        self.models.iter().find(matches)
    }

    /// Waits for a slot, first come first served, and draws the answer.
    pub(super) async fn begin(self: Arc<Self>, order: Order) -> (Generation, Ticket) {
        let (permit, start) = self.take_slot(&order).await;
        let load_delay = self.draw_load_delay(order.number);
        let ready_at = order.model.residence.lock().enter(start, load_delay);
        let cached_tokens = if self.character.prefix_cache {
            self.cache.lock().look_up(&order.prompt)
        } else {
            0
        };
        let circumstances = Circumstances {
            number: order.number,
            prompt_tokens: order.prompt.tokens,
            cached_tokens,
            queue: start.saturating_duration_since(order.received),
            load: ready_at.saturating_duration_since(start),
            fault: order.fault,
        };
        let (model, wanted) = (&order.model.name, order.wanted);
        let generation =
            Generation::draw(&self.character, model, wall_now(), wanted, circumstances);
        let ticket = Ticket::new(order, &generation, permit, self.character.prefix_cache);
        (generation, ticket)
    }

    /// Waits for a slot and says when work began: a request that need not wait starts on arrival.
    async fn take_slot(&self, order: &Order) -> (Option<OwnedSemaphorePermit>, Instant) {
        if let Ok(permit) = Arc::clone(&self.slots).try_acquire_owned() {
            return (Some(permit), order.received);
        }
        let _waiting = Waiting::new(Arc::clone(&order.model));
        // Closed semaphores do not occur; without a permit the request would merely not queue.
        let permit = Arc::clone(&self.slots).acquire_owned().await.ok();
        (permit, Instant::now())
    }

    fn draw_load_delay(&self, number: u64) -> Duration {
        const LOAD_STREAM: u64 = 5;
        let mut random = random(self.character.seed, number, LOAD_STREAM);
        self.character.load_delay.sample(&mut random)
    }

    /// The runtime's own metrics page.
    pub(super) fn metrics_page(&self) -> String {
        let capacity = slots(&self.character) as u64 * CACHE_TOKENS_PER_SLOT;
        let locks: Vec<_> = self
            .models
            .iter()
            .map(|model| (model, model.stats.lock()))
            .collect();
        let stats: Vec<_> = locks
            .iter()
            .map(|(model, stats)| (model.name.as_str(), &**stats))
            .collect();
        match self.character.flavor {
            RuntimeFlavor::LlamaCpp => metrics::llamacpp_page(&stats, capacity),
            _ => metrics::vllm_page(&stats, capacity),
        }
    }
}

fn slots(character: &Character) -> usize {
    character.slots.clamp(1, Semaphore::MAX_PERMITS)
}

/// A request in the queue.
#[derive(Debug)]
struct Waiting(Arc<Model>);

impl Waiting {
    fn new(model: Arc<Model>) -> Self {
        model.stats.lock().waiting += 1;
        Self(model)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.stats.lock().waiting -= 1;
    }
}

/// A request that is being worked on: holds its slot until dropped.
#[derive(Debug)]
pub(super) struct Ticket {
    pub(super) times: Times,
    model: Arc<Model>,
    keep_alive: Option<Option<Duration>>,
    received: Instant,
    last_token: Option<Instant>,
    finish: Option<Finish>,
    completed: bool,
    cache_tokens: u64,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Ticket {
    fn new(
        order: Order,
        generation: &Generation,
        permit: Option<OwnedSemaphorePermit>,
        prefix_cache: bool,
    ) -> Self {
        let prompt_tokens = u64::from(generation.prompt_tokens);
        let cache_tokens = prompt_tokens + u64::from(generation.output_tokens());
        let mut stats = order.model.stats.lock();
        stats.running += 1;
        stats.cache_tokens += cache_tokens;
        stats.prompt_tokens += prompt_tokens;
        stats.prompt_seconds += generation.prefill.as_secs_f64();
        stats.queue.observe(generation.queue);
        if prefix_cache {
            stats.prefix_queries += prompt_tokens;
            stats.prefix_hits += u64::from(generation.cached_tokens);
        }
        drop(stats);
        Self {
            times: Times::of(generation),
            model: order.model,
            keep_alive: order.keep_alive,
            received: order.received,
            last_token: None,
            finish: generation.finish,
            completed: false,
            cache_tokens,
            _permit: permit,
        }
    }

    /// Counts tokens that go out now.
    pub(super) fn sent(&mut self, tokens: u32) {
        let now = Instant::now();
        let mut stats = self.model.stats.lock();
        stats.generation_tokens += u64::from(tokens);
        match self.last_token.replace(now) {
            None => stats
                .ttft
                .observe(now.saturating_duration_since(self.received)),
            Some(last) => {
                let gap = now.saturating_duration_since(last);
                stats.itl.observe(gap);
                stats.generation_seconds += gap.as_secs_f64();
            }
        }
    }

    /// The answer went out to its end.
    pub(super) fn complete(&mut self) {
        self.completed = true;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let now = Instant::now();
        self.model.residence.lock().leave(now, self.keep_alive);
        let mut stats = self.model.stats.lock();
        stats.running -= 1;
        stats.cache_tokens -= self.cache_tokens;
        stats.ended(self.finish.filter(|_| self.completed));
        if self.completed {
            stats
                .e2e
                .observe(now.saturating_duration_since(self.received));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine(character: Character) -> Arc<Engine> {
        Arc::new(Engine::new(character))
    }

    fn order(engine: &Engine, prompt: &str) -> Order {
        let mut tokens = Prompt::default();
        tokens.push(prompt);
        Order {
            model: Arc::clone(&engine.models[0]),
            number: engine.take_number(),
            prompt: tokens,
            wanted: Wanted::default(),
            keep_alive: None,
            fault: None,
            received: Instant::now(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn requests_beyond_the_slots_wait_and_their_wait_is_in_the_deadlines() {
        let engine = engine(Character {
            slots: 1,
            ..Character::default()
        });
        let (first, ticket) = Arc::clone(&engine).begin(order(&engine, "one")).await;
        assert_eq!(first.queue, Duration::ZERO);
        let mut second = Box::pin(Arc::clone(&engine).begin(order(&engine, "two")));
        assert!(
            tokio::time::timeout(Duration::from_millis(30), &mut second)
                .await
                .is_err()
        );
        let page = engine.metrics_page();
        let labels = "{engine=\"0\",model_name=\"sim-model\"}";
        assert!(page.contains(&format!("vllm:num_requests_running{labels} 1\n")));
        assert!(page.contains(&format!("vllm:num_requests_waiting{labels} 1\n")));
        drop(ticket);
        let (second, _ticket) = second.await;
        assert_eq!(second.queue, Duration::from_millis(30));
        assert_eq!(second.start_of_decode(), Duration::from_millis(80));
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_request_loads_the_model() {
        let load = Duration::from_secs(3);
        let engine = engine(Character {
            load_delay: crate::simulate::Distribution::Constant(load),
            ..Character::default()
        });
        let (first, _) = Arc::clone(&engine).begin(order(&engine, "one")).await;
        assert_eq!(first.load, load);
        tokio::time::advance(load).await;
        let (second, _) = Arc::clone(&engine).begin(order(&engine, "two")).await;
        assert_eq!(second.load, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_repeated_prompt_shortens_prefill() {
        let engine = engine(Character {
            prefix_cache: true,
            prefill_per_token: Duration::from_millis(1),
            ..Character::default()
        });
        let prompt = "word ".repeat(40);
        let (cold, _) = Arc::clone(&engine).begin(order(&engine, &prompt)).await;
        let (warm, _) = Arc::clone(&engine).begin(order(&engine, &prompt)).await;
        assert_eq!((cold.cached_tokens, warm.cached_tokens), (0, 32));
        assert_eq!(cold.prefill - warm.prefill, Duration::from_millis(32));
    }

    #[tokio::test(start_paused = true)]
    async fn an_abandoned_request_is_counted_as_aborted() {
        let engine = engine(Character::default());
        let (_, ticket) = Arc::clone(&engine).begin(order(&engine, "one")).await;
        drop(ticket);
        let page = engine.metrics_page();
        assert!(page.contains("finished_reason=\"abort\"} 1\n"));
        assert!(
            page.contains("vllm:num_requests_running{engine=\"0\",model_name=\"sim-model\"} 0\n")
        );
    }

    #[test]
    fn a_missing_tag_means_latest() {
        let engine = engine(Character {
            models: vec!["gemma:latest".into(), "phi:3b".into()],
            ..Character::default()
        });
        assert!(engine.model("gemma").is_some());
        assert!(engine.model("gemma:latest").is_some());
        assert!(engine.model("phi").is_none());
        assert!(engine.model("phi:3b").is_some());
    }
}
