// The page's own words, in its language: English stands in the scripts, the other languages came with the page. The first of the scripts.
"use strict";

const translations = JSON.parse(document.querySelector("#words").textContent); // English -> words; of a counted text: [one, many]
const language = document.documentElement.lang;
// Days and hours as her browser writes them in this language, the country's way if it knows one.
const locale = navigator.languages.find((one) => one.split("-")[0] === language) || language;
// Elsewhere than in English the day has 24 hours, as in the console.
const hours = { hour: "2-digit", minute: "2-digit", ...(language === "en" ? {} : { hourCycle: "h23" }) };

const fill = (text, values) => text.replace(/\{(\w+)\}/g, (hole, name) => (name in values ? values[name] : hole));
const say = (text, values = {}) => fill(translations[text] || text, values);
const sayCount = (one, many, n) => fill((translations[one] || [one, many])[n === 1 ? 0 : 1], { n });
