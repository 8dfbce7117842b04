// The console by itself is complete without this file. It brings figures up to date, shows events as they come, and
// adds keys. Nothing that a sender wrote is ever parsed as HTML here: it is set as text.
'use strict';

const EVERY_MS = 5000;
const SOON_MS = 800;
const MOST_ROWS = 100;

let following = true;
let soon;

// Figures: the page is asked for again, and the parts that are marked take the place of the old ones.

async function refresh() {
  if (document.hidden || !following) return;
  const parts = document.querySelectorAll('[data-live]');
  if (parts.length === 0) return;
  let text;
  try {
    const answer = await fetch(location.href, { headers: { accept: 'text/html' }, redirect: 'error' });
    if (answer.status === 401) return location.reload();
    if (!answer.ok) return;
    text = await answer.text();
  } catch {
    return offline(true);
  }
  offline(false);
  const page = new DOMParser().parseFromString(text, 'text/html');
  for (const part of parts) {
    const fresh = page.querySelector(`[data-live="${CSS.escape(part.dataset.live)}"]`);
    // Nothing is taken from under somebody's finger.
    if (!fresh || part.contains(document.activeElement) || part.matches(':hover') && part.querySelector('form')) continue;
    part.className = fresh.className;
    part.replaceChildren(...fresh.childNodes);
  }
}

function offline(is) {
  const state = document.querySelector('[data-live="state"]');
  if (is && state) {
    state.className = 'pill bad';
    state.textContent = 'no answer';
  }
}

// Events as they come.

function cell(row, text, kind) {
  const td = row.insertCell();
  if (kind) td.className = kind;
  td.textContent = text;
  return td;
}

function link(td, href, text) {
  const a = document.createElement('a');
  a.href = href;
  a.textContent = text;
  td.textContent = '';
  td.append(a);
  return a;
}

function show(body, event) {
  const sequence = String(BigInt(event.sequence));
  if (body.querySelector(`tr[data-sequence="${sequence}"]`)) return;
  const source = event.source.replace(/^urn:webhook:/, '');
  const row = body.insertRow(0);
  row.className = 'new';
  row.dataset.sequence = sequence;
  cell(row, event.recordedtime.slice(11, 23).replace('Z', ''));
  link(cell(row, ''), `/events/${sequence}`, sequence).className = 'mono';
  link(cell(row, ''), `/events?source=${encodeURIComponent(source)}`, source);
  cell(row, event.type, 'wide');
  cell(row, event.id, 'mono cut').title = event.id;
  cell(row, event.verification, 'quiet');
  cell(row, '');
  cell(row, '', 'right quiet');
  while (body.rows.length > MOST_ROWS) body.deleteRow(-1);
}

function follow(part) {
  const source = new EventSource(`/v1/events/stream?data=false&after=${part.dataset.stream}`);
  let waiting = [];
  source.onmessage = (message) => {
    waiting.push(message.data);
    // A flood is not shown event by event: the newest of each moment are.
    if (waiting.length > MOST_ROWS) waiting = waiting.slice(-MOST_ROWS);
    if (waiting.length > 1) return;
    requestAnimationFrame(() => {
      const body = part.querySelector('tbody');
      const events = waiting;
      waiting = [];
      if (!following || !body) return;
      part.querySelector('.empty')?.remove();
      for (const event of events) show(body, JSON.parse(event));
      // Where they went is known a moment later.
      clearTimeout(soon);
      soon = setTimeout(refresh, SOON_MS);
    });
  };
}

// A search that has found nothing yet goes on, part by part, until it has or nothing is left.

async function further() {
  for (;;) {
    const link = document.querySelector('a[data-further]');
    if (!link) return;
    const pages = link.closest('.pages');
    pages.setAttribute('aria-live', 'polite');
    let answer;
    try {
      answer = await fetch(link.href, { headers: { accept: 'text/html' }, redirect: 'error' });
    } catch {
      return;
    }
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
    const [list, next] = [page.querySelector('main .scroll'), page.querySelector('main .pages')];
    if (!list || !next) return;
    history.replaceState(null, '', link.href);
    document.querySelector('main .scroll').replaceWith(list);
    pages.replaceChildren(...next.childNodes);
  }
}

function start() {
  further();
  const stream = document.querySelector('[data-stream]');
  if (stream) follow(stream);
  const toggle = document.querySelector('[data-follow]');
  if (toggle && stream) {
    toggle.hidden = false;
    toggle.addEventListener('click', () => {
      following = !following;
      toggle.textContent = following ? 'Pause' : 'Follow';
      if (following) refresh();
    });
  }
  setInterval(refresh, EVERY_MS);

  const all = document.querySelector('[data-all]');
  all?.addEventListener('change', () => {
    for (const box of document.querySelectorAll('input[name="id"]')) box.checked = all.checked;
  });

  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest('input, select, textarea')) return;
    if (event.key === '/') {
      const field = document.querySelector('[data-search]');
      if (field) {
        event.preventDefault();
        field.focus();
      }
      return;
    }
    if (/^[a-z]$/.test(event.key)) document.querySelector(`[data-key="${event.key}"]`)?.click();
  });
}

start();
