// The little that the pages cannot do without script. Everything works without it, only slower: forms post, links lead.
"use strict";

// A form that acts is sent once, however often its button is pressed; the server has the form's key as well.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.dataset.sent) {
    event.preventDefault();
    return;
  }
  if (form.method === "post") form.dataset.sent = "yes";
});

// Back from the next page (from the browser's cache): the form may be sent again.
window.addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
});
document.addEventListener("htmx:afterRequest", (event) => {
  const form = event.target.closest && event.target.closest("form[data-sent]");
  if (form) delete form.dataset.sent;
});

// On a phone the pages stand in one row that can be pushed aside: the one she is on is in view.
const here = document.querySelector(".top nav [aria-current]");
if (here) {
  const row = here.closest("nav");
  row.scrollLeft = here.offsetLeft - (row.clientWidth - here.offsetWidth) / 2;
}
