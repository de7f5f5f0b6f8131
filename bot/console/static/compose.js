// The seconds of a cool-down run down between two looks of the page. Without script the number stands, and the page says what to do.
"use strict";

setInterval(() => {
  for (const timer of document.querySelectorAll("[data-seconds]")) {
    const left = Math.max(0, Number(timer.dataset.seconds) - 1);
    timer.dataset.seconds = String(left);
    timer.textContent = String(left);
  }
}, 1000);
