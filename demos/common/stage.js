// The picture that one prompts. The server sends `props.value` (see stage.py); this draws it and reports what was
// clicked in pixels of the photo. Everything that is drawn here is shown only: results are made on the server.
const root = element.querySelector('.stage');
const canvas = root.querySelector('canvas');
const context = canvas.getContext('2d');
const view = root.querySelector('.stage-view');
const backdrop = root.querySelector('.stage-backdrop');
const message = root.querySelector('.stage-message');

const GREEN = '#18a558', RED = '#e5484d', AMBER = '#f5a524';
const CLICK_SLACK = 4;                    // CSS pixels that a click may wander before it is a drag
const MAX_ZOOM = 32;
const images = new Map();                 // key -> image, as long as the server refers to it
let value = props.value || {};
let tool = 'foreground';
let zoom = 1, centre = [0.5, 0.5];        // of the photo; zoom 1 fits it
let split = 0.5;                          // of the frame, in the compare view
let drag = null, corner = null, cross = null, asked = -1;

const photo = () => value.photo && images.get(value.photo.key);
const ratio = () => window.devicePixelRatio || 1;

// ---- frame of the photo <-> frame of the canvas (CSS pixels)
function placement() {
  const width = canvas.clientWidth, height = canvas.clientHeight;
  const scale = Math.min(width / value.photo.width, height / value.photo.height) * zoom;
  return { scale, left: width / 2 - centre[0] * value.photo.width * scale, top: height / 2 - centre[1] * value.photo.height * scale };
}
function toPhoto(event) {
  const rect = canvas.getBoundingClientRect(), at = placement();
  return [(event.clientX - rect.left - at.left) / at.scale, (event.clientY - rect.top - at.top) / at.scale];
}
const clamp = (number, low, high) => Math.min(Math.max(number, low), high);
const inside = ([x, y]) => x >= 0 && y >= 0 && x < value.photo.width && y < value.photo.height;
const pixel = ([x, y]) => [clamp(Math.floor(x), 0, value.photo.width - 1), clamp(Math.floor(y), 0, value.photo.height - 1)];

// ---- telling the server
const page = Math.random().toString(36).slice(2);
let serial = 0;                           // requests may overtake one another: the server puts them in order
function send(data) {
  root.dataset.busy = 'true';
  trigger('prompt', { ...data, view: view.value, page, serial: ++serial });
}

// ---- drawing
function layout() {
  const width = canvas.parentElement.clientWidth;
  if (!width) return;
  const tall = value.photo ? width * value.photo.height / value.photo.width : width * 0.6;
  const height = Math.round(clamp(tall, 220, Math.max(300, window.innerHeight * 0.6)));
  canvas.style.height = height + 'px';
  if (canvas.width !== Math.round(width * ratio()) || canvas.height !== Math.round(height * ratio())) {
    canvas.width = Math.round(width * ratio());
    canvas.height = Math.round(height * ratio());
  }
}
function picture(image) {
  const at = placement();
  context.drawImage(image, at.left, at.top, value.photo.width * at.scale, value.photo.height * at.scale);
}
function silhouette(image, colour) {      // a matte in one colour
  const sheet = document.createElement('canvas');
  sheet.width = image.naturalWidth; sheet.height = image.naturalHeight;
  const pen = sheet.getContext('2d');
  pen.drawImage(image, 0, 0);
  pen.globalCompositeOperation = 'source-in';
  pen.fillStyle = colour;
  pen.fillRect(0, 0, sheet.width, sheet.height);
  return sheet;
}
function photoThrough(matte) {            // the photo's own colours, until the server sends the object's
  const sheet = silhouette(matte, '#000');
  const pen = sheet.getContext('2d');
  pen.globalCompositeOperation = 'source-in';
  pen.drawImage(photo(), 0, 0, sheet.width, sheet.height);
  return sheet;
}
function frameOfPhoto() {
  const at = placement();
  context.beginPath();
  context.rect(at.left, at.top, value.photo.width * at.scale, value.photo.height * at.scale);
  context.clip();
}
function checkerboard() {
  context.fillStyle = '#ffffff';
  context.fillRect(0, 0, canvas.clientWidth, canvas.clientHeight);
  context.fillStyle = '#d0d0d0';
  for (let y = 0; y < canvas.clientHeight; y += 12)
    for (let x = (y / 12 % 2) * 12; x < canvas.clientWidth; x += 24) context.fillRect(x, y, 12, 12);
}
function cutouts(layer) {
  if (backdrop.value === 'checkerboard') checkerboard();
  else { context.fillStyle = backdrop.value; context.fillRect(0, 0, canvas.clientWidth, canvas.clientHeight); }
  for (const object of value.objects || []) {
    const finished = images.get((object.cutouts || {})[layer]), matte = images.get((object.mattes || {})[layer]);
    if (finished || matte) picture(finished || photoThrough(matte));
  }
}
function drawView() {
  const layers = value.layers || [], kind = view.value;
  const named = (value.pictures || []).find(one => 'picture:' + one.name === kind);
  if (named && images.get(named.key)) return picture(images.get(named.key));
  if (kind === 'cutout') return cutouts(layers[0]);
  if (kind === 'alpha') {
    context.fillStyle = '#000';
    context.fillRect(0, 0, canvas.clientWidth, canvas.clientHeight);
    for (const object of value.objects || []) {
      const image = images.get((object.mattes || {})[layers[0]]);
      if (image) picture(silhouette(image, '#fff'));
    }
    return;
  }
  if (kind === 'compare') {
    const at = split * canvas.clientWidth;
    cutouts(layers[0]);
    context.save();
    context.beginPath();
    context.rect(0, 0, at, canvas.clientHeight);
    context.clip();
    cutouts(layers[1]);
    context.restore();
    return;
  }
  picture(photo());
  if (kind !== 'photo')
    for (const object of value.objects || []) {
      const image = images.get((object.mattes || {})[layers[0]]);
      if (!image) continue;
      context.globalAlpha = 0.55;
      picture(silhouette(image, object.colour || '#3b82f6'));
      context.globalAlpha = 1;
    }
}
function tag(text, x, align) {
  context.font = '600 13px system-ui, sans-serif';
  const wide = context.measureText(text).width + 12;
  const left = align === 'right' ? x - wide - 8 : x + 8;
  context.fillStyle = 'rgba(0, 0, 0, 0.65)';
  context.fillRect(left, 8, wide, 22);
  context.fillStyle = '#fff';
  context.fillText(text, left + 6, 23);
}
function drawSplit() {
  const at = split * canvas.clientWidth;
  context.fillStyle = '#fff';
  context.fillRect(at - 1.5, 0, 3, canvas.clientHeight);
  context.beginPath();
  context.arc(at, canvas.clientHeight / 2, 12, 0, 2 * Math.PI);
  context.fill();
  context.fillStyle = '#333';
  context.font = '14px system-ui, sans-serif';
  context.fillText('\u2194', at - 7, canvas.clientHeight / 2 + 5);
  tag(value.layers[1], 0, 'left');
  tag(value.layers[0], canvas.clientWidth, 'right');
}
function drawPrompts() {
  const at = placement();
  const place = ([x, y]) => [at.left + x * at.scale, at.top + y * at.scale];
  const rectangle = (box, dash) => {
    const [x1, y1] = place([box[0], box[1]]), [x2, y2] = place([box[2], box[3]]);
    context.setLineDash(dash);
    context.lineWidth = 4; context.strokeStyle = 'rgba(0, 0, 0, 0.5)'; context.strokeRect(x1, y1, x2 - x1, y2 - y1);
    context.lineWidth = 2; context.strokeStyle = AMBER; context.strokeRect(x1, y1, x2 - x1, y2 - y1);
    context.setLineDash([]);
  };
  const line = (points, label) => {
    context.beginPath();
    points.map(place).forEach(([x, y], i) => i ? context.lineTo(x, y) : context.moveTo(x, y));
    context.lineWidth = 6; context.lineCap = context.lineJoin = 'round';
    context.strokeStyle = label ? GREEN : RED;
    context.globalAlpha = 0.7; context.stroke(); context.globalAlpha = 1;
  };
  (value.objects || []).forEach((object, index) => {
    if (index !== value.active) return;
    (object.boxes || []).forEach(box => rectangle(box, []));
    (object.strokes || []).forEach(stroke => line(stroke.points, stroke.label));
    for (const [x, y, label] of object.points || []) {
      const [left, top] = place([x + 0.5, y + 0.5]);
      context.beginPath(); context.arc(left, top, 7, 0, 2 * Math.PI);
      context.fillStyle = label ? GREEN : RED; context.fill();
      context.lineWidth = 2; context.strokeStyle = '#fff'; context.stroke();
      context.fillStyle = '#fff';
      context.fillRect(left - 3.5, top - 1, 7, 2);
      if (label) context.fillRect(left - 1, top - 3.5, 2, 7);
    }
  });
  if (drag && drag.tool === 'box' && drag.moved) rectangle([...drag.from, ...drag.to], [6, 4]);
  if (corner) { const [x, y] = place(corner); context.fillStyle = AMBER; context.fillRect(x - 4, y - 4, 8, 8); }
  if (drag && drag.stroke) line(drag.stroke, drag.tool === 'brush');
  if (cross) {
    const [x, y] = place([cross[0] + 0.5, cross[1] + 0.5]);
    context.lineWidth = 1.5; context.strokeStyle = '#fff';
    context.strokeRect(x - 9, y - 9, 18, 18);
    context.strokeStyle = '#000';
    context.strokeRect(x - 10.5, y - 10.5, 21, 21);
  }
}
function draw() {
  layout();
  context.setTransform(ratio(), 0, 0, ratio(), 0, 0);
  context.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
  if (!photo()) return;
  context.imageSmoothingQuality = 'high';
  context.save();
  frameOfPhoto();
  drawView();
  context.restore();
  if (view.value === 'compare') drawSplit();
  if (!view.value.startsWith('picture:')) drawPrompts();
}

// ---- what the server sent
function views() {
  const names = [];
  if ((value.layers || []).length) names.push(['matte', 'matte on photo'], ['cutout', 'cut-out'], ['alpha', 'alpha']);
  if ((value.layers || []).length > 1) names.push(['compare', value.layers[1] + ' | ' + value.layers[0]]);
  names.push(['photo', 'photo']);
  for (const one of value.pictures || []) names.push(['picture:' + one.name, one.name]);
  const wanted = value.show || view.value;
  if (names.map(String).join() !== view.dataset.names) {
    view.dataset.names = names.map(String).join();
    view.replaceChildren(...names.map(([key, text]) => new Option(text, key)));
  }
  view.value = names.some(([key]) => key === wanted) ? wanted : names[0][0];
  backdrop.parentElement.style.display = ['cutout', 'compare'].includes(view.value) ? '' : 'none';
}
function keys() {
  const wanted = value.photo ? [value.photo.key] : [];
  for (const object of value.objects || []) wanted.push(...Object.values(object.mattes || {}), ...Object.values(object.cutouts || {}));
  for (const one of value.pictures || []) wanted.push(one.key);
  return wanted;
}
async function load([key, url]) {
  const image = new Image();
  image.src = url;
  await image.decode().catch(() => {});
  images.set(key, image);
}
async function refresh() {
  const sent = props.value || {};
  await Promise.all(Object.entries(sent.assets || {}).filter(([key]) => !images.has(key)).map(load));
  if (sent !== props.value) return;       // a later answer came meanwhile and draws itself
  if (sent.revision < value.revision) return;   // or came earlier, from another event
  if (!value.photo || !sent.photo || value.photo.key !== sent.photo.key) { zoom = 1; centre = [0.5, 0.5]; corner = cross = null; }
  value = sent;
  const wanted = keys();
  for (const key of [...images.keys()]) if (!wanted.includes(key)) images.delete(key);
  root.dataset.photo = value.photo ? 'true' : 'false';
  root.dataset.width = value.photo ? value.photo.width : 0;
  root.dataset.height = value.photo ? value.photo.height : 0;
  root.dataset.tools = (value.tools || []).join(' ');
  for (const button of root.querySelectorAll('[data-tool]'))
    button.hidden = !['pan', ...(value.tools || [])].includes(button.dataset.tool);
  if (value.photo && value.tools && tool !== 'pan' && !value.tools.includes(tool)) choose(value.tools[0] || 'pan');
  message.textContent = value.message || '';
  message.dataset.kind = value.error ? 'error' : '';
  views();
  draw();
  if (wanted.some(key => !images.has(key))) { if (!value.busy && asked !== value.revision) { asked = value.revision; send({ kind: 'refresh' }); } return; }
  root.dataset.busy = value.busy ? 'true' : 'false';
  const now = (value.objects || [])[value.active] || {};
  root.dataset.prompts = (now.points || []).length + (now.boxes || []).length + (now.strokes || []).length;
  root.dataset.revision = value.revision ?? 0;
}

// ---- tools
function choose(name) {
  tool = name; corner = null;
  canvas.dataset.tool = name;
  for (const button of root.querySelectorAll('[data-tool]')) button.setAttribute('aria-pressed', String(button.dataset.tool === name));
  draw();
}
function magnify(factor, event) {
  if (!photo()) return;
  const before = event ? toPhoto(event) : [centre[0] * value.photo.width, centre[1] * value.photo.height];
  zoom = clamp(zoom * factor, 1, MAX_ZOOM);
  if (event) {
    const after = toPhoto(event);
    centre = [centre[0] + (before[0] - after[0]) / value.photo.width, centre[1] + (before[1] - after[1]) / value.photo.height];
  }
  keepInFrame();
  draw();
}
function keepInFrame() {
  if (zoom === 1) { centre = [0.5, 0.5]; return; }
  centre = centre.map(part => clamp(part, 0.5 / zoom, 1 - 0.5 / zoom));
}
function mark(at, label) {
  if (inside(at)) send({ kind: 'point', x: pixel(at)[0], y: pixel(at)[1], label });
}
function box(from, to) {
  const xs = [from[0], to[0]].map(x => clamp(x, 0, value.photo.width)), ys = [from[1], to[1]].map(y => clamp(y, 0, value.photo.height));
  send({ kind: 'box', box: [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)].map(Math.round) });
}
const onSplit = event => view.value === 'compare' && Math.abs(event.offsetX - split * canvas.clientWidth) < 16;

canvas.addEventListener('pointerdown', event => {
  if (!photo() || event.button > 1) return;
  canvas.focus({ preventScroll: true });
  cross = null;
  const at = toPhoto(event);
  const chosen = onSplit(event) ? 'split' : event.button === 1 ? 'pan' : tool;
  drag = { tool: chosen, from: at, to: at, x: event.clientX, y: event.clientY, moved: false, centre: [...centre] };
  if (chosen === 'brush' || chosen === 'eraser') drag.stroke = [at];
  if (!['foreground', 'background'].includes(chosen)) canvas.setPointerCapture(event.pointerId);
});
canvas.addEventListener('pointermove', event => {
  if (!drag) { canvas.style.cursor = photo() && onSplit(event) ? 'ew-resize' : ''; return; }
  drag.moved ||= Math.hypot(event.clientX - drag.x, event.clientY - drag.y) > CLICK_SLACK;
  drag.to = toPhoto(event);
  if (drag.stroke) drag.stroke.push(drag.to);
  if (drag.tool === 'split') split = clamp(event.offsetX / canvas.clientWidth, 0.02, 0.98);
  if (drag.tool === 'pan') {
    const { scale } = placement();
    centre = [drag.centre[0] - (event.clientX - drag.x) / scale / value.photo.width, drag.centre[1] - (event.clientY - drag.y) / scale / value.photo.height];
    keepInFrame();
  }
  draw();
});
canvas.addEventListener('pointerup', event => {
  if (!drag) return;
  const done = drag;
  drag = null;
  if (done.tool === 'foreground' || done.tool === 'background') { if (!done.moved) mark(toPhoto(event), done.tool === 'foreground' ? 1 : 0); }
  else if (done.tool === 'box') {
    if (done.moved) { corner = null; box(done.from, done.to); }
    else if (corner) { const first = corner; corner = null; box(first, done.to); }
    else if (inside(done.to)) corner = done.to;
  } else if (done.stroke) {
    const points = done.stroke.filter(inside).map(pixel);
    const step = Math.max(1, Math.ceil(points.length / 256));
    if (points.length) send({ kind: 'stroke', label: done.tool === 'brush' ? 1 : 0, points: points.filter((_, i) => i % step === 0 || i === points.length - 1) });
  }
  draw();
});
canvas.addEventListener('pointercancel', () => { drag = null; draw(); });
canvas.addEventListener('wheel', event => {
  if (!photo() || !(event.ctrlKey || event.metaKey || zoom > 1)) return;   // otherwise the page scrolls
  event.preventDefault();
  magnify(Math.exp(-event.deltaY * 0.0015), event);
}, { passive: false });
canvas.addEventListener('dblclick', event => event.preventDefault());
canvas.addEventListener('keydown', event => {
  if (!photo()) return;
  const key = event.key, command = event.ctrlKey || event.metaKey;
  if (command && key.toLowerCase() === 'z') send({ kind: event.shiftKey ? 'redo' : 'undo' });
  else if (command && key.toLowerCase() === 'y') send({ kind: 'redo' });
  else if (command) return;
  else if (key === 'Escape') { drag = corner = cross = null; draw(); }
  else if (key === '+' || key === '=') magnify(1.5);
  else if (key === '-') magnify(1 / 1.5);
  else if (key === 'Enter' && cross) mark(cross, event.shiftKey ? 0 : 1);
  else if (key.startsWith('Arrow')) {
    const step = Math.max(1, Math.round(value.photo.width / zoom / (event.shiftKey ? 400 : 60)));
    const move = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[key];
    const at = cross || [centre[0] * value.photo.width, centre[1] * value.photo.height];
    cross = pixel([at[0] + move[0], at[1] + move[1]]);
    draw();
  } else return;
  event.preventDefault();
});
root.querySelector('.stage-tools').addEventListener('click', event => {
  const button = event.target.closest('[data-tool]');
  if (button) choose(button.dataset.tool);
});
root.querySelector('.stage-zoom').addEventListener('click', event => {
  const button = event.target.closest('[data-zoom]');
  if (!button) return;
  if (button.dataset.zoom === 'fit') { zoom = 1; keepInFrame(); draw(); } else magnify(button.dataset.zoom === 'in' ? 1.5 : 1 / 1.5);
});
view.addEventListener('change', () => {
  views.chosen = view.value;
  backdrop.parentElement.style.display = ['cutout', 'compare'].includes(view.value) ? '' : 'none';
  draw();
  if (['cutout', 'compare'].includes(view.value)) send({ kind: 'look' });
});
backdrop.addEventListener('change', draw);
// A photo that is dropped here goes to the upload button of the same app.
canvas.addEventListener('dragover', event => event.preventDefault());
canvas.addEventListener('drop', event => {
  event.preventDefault();
  const host = element.closest('[id$="-stage"]');
  const button = host && document.getElementById(host.id.replace(/-stage$/, '-upload'));
  const input = button && (button.querySelector('input[type=file]') || button.parentElement.querySelector('input[type=file]'));
  if (!input || !event.dataTransfer.files.length) return;
  input.files = event.dataTransfer.files;
  input.dispatchEvent(new Event('change', { bubbles: true }));
});
new ResizeObserver(draw).observe(canvas.parentElement);
window.addEventListener('resize', draw);
choose(tool);
watch('value', refresh);
refresh();
