"use strict";

// Filters the articles of a page by the controls of `form.filters`, which is hidden without a script.
// A select named x compares with data-x of each article; the field `text` searches what the article shows.
function startFilters(form) {
  const articles = [...document.querySelectorAll("main article")].map((element) => ({
    element,
    text: element.textContent.toLowerCase(),
  }));
  const selects = [...form.querySelectorAll("select")];
  const count = form.querySelector("output");

  function matches({ element, text }, words) {
    return selects.every((select) => !select.value || element.dataset[select.name] === select.value)
      && words.every((word) => text.includes(word));
  }

  function apply() {
    const words = form.elements.text.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const article of articles) {
      const visible = matches(article, words);
      article.element.hidden = !visible;
      shown += visible;
    }
    for (const section of document.querySelectorAll("main section")) {
      section.hidden = !section.querySelector("article:not([hidden])");
    }
    count.textContent = `${shown.toLocaleString("en")} of ${articles.length.toLocaleString("en")} shown`;
  }

  // a link leads to what it names, whatever the filter hides
  function reveal() {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target && target.closest("[hidden]")) {
      form.reset();
      apply();
      target.scrollIntoView();
    }
  }

  for (const kind of ["input", "change"]) form.addEventListener(kind, apply);
  form.addEventListener("reset", () => setTimeout(apply));  // the event comes before the controls change
  form.addEventListener("submit", (event) => event.preventDefault());
  window.addEventListener("hashchange", reveal);
  form.hidden = false;
  apply();
}

document.querySelectorAll("form.filters").forEach(startFilters);
