'use strict';
// Details at once, in the place of the browser's own tool tip, which comes late.
const tip = document.createElement('div');
tip.id = 'tip';
tip.hidden = true;
document.body.append(tip);
let shown = null;
function hide() {
  if (shown) shown.holder.prepend(shown.title);
  shown = null;
  tip.hidden = true;
}
// The nearest part of a picture that has something to say; the picture's own title is not meant.
function holderOf(element) {
  for (; element && element.closest && element.closest('.ladder') && element.tagName !== 'svg'; element = element.parentNode) {
    if (element.querySelector(':scope > title')) return element;
  }
  return null;
}
document.addEventListener('pointermove', event => {
  if (!shown || !shown.holder.contains(event.target)) {
    hide();
    const holder = holderOf(event.target);
    if (!holder) return;
    const title = holder.querySelector(':scope > title');
    shown = { holder, title };
    tip.textContent = title.textContent;
    title.remove();
    tip.hidden = false;
  }
  const { innerWidth: width, innerHeight: height } = window;
  const below = event.clientY + 18;
  tip.style.left = Math.max(8, Math.min(event.clientX + 14, width - tip.offsetWidth - 8)) + 'px';
  tip.style.top = (below + tip.offsetHeight > height ? event.clientY - tip.offsetHeight - 12 : below) + 'px';
});
document.addEventListener('pointerleave', hide);
document.addEventListener('scroll', hide, true);
// With many cases, those that were coped with can be put aside.
const good = document.querySelectorAll('section.good').length;
if (good && document.querySelectorAll('section').length > good) {
  const button = document.createElement('button');
  button.id = 'only';
  const label = () => document.body.classList.contains('hide-good') ? 'Show all cases' : 'Show only what was not coped with';
  button.textContent = label();
  button.addEventListener('click', () => {
    document.body.classList.toggle('hide-good');
    button.textContent = label();
  });
  document.querySelector('.scores').before(button);
}
