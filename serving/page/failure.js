"use strict";
/* What went wrong, in the reader's language; behind it the service's own English words. */

const PLAIN = {
  // by HTTP status; 0: no answer came
  0: "تعذّر الوصول إلى الخدمة. تحقّق من الاتصال ثم أعد المحاولة.",
  400: "لم تفهم الخدمة الطلب.",
  404: "لا توجد هذه الخدمة على الخادم.",
  408: "طال الانتظار فأُلغي الطلب. جرّب نصًا أقصر أو أعد المحاولة.",
  413: "النص أكبر من الحد المسموح. قسّمه ثم أعد المحاولة.",
  415: "لم تفهم الخدمة صيغة الطلب.",
  422: "في الطلب ما لا تقبله الخدمة.",
  429: "الخدمة مشغولة الآن. انتظر قليلًا ثم أعد المحاولة.",
  500: "حدث خلل في الخدمة. أعد المحاولة بعد قليل.",
  503: "الخدمة غير جاهزة الآن. أعد المحاولة بعد قليل.",
  504: "طال الانتظار فلم تجب الخدمة. أعد المحاولة.",
};
const PLAIN_ARTICLE = [
  [/empty|no word/i, "النص فارغ. الصق كلمات المقال."],
  [/target or claim/i, "الهدف أو المقولة أطول مما تقبله الخدمة، أو ليس فيه كلمات. اختصره ثم أعد المحاولة."],
  [/limit|too long/i, "النص أطول من الحد المسموح. قسّمه ثم أعد المحاولة."],
  [/surrogate/i, "في النص رموز معطوبة (أنصاف رموز). أعد نسخه من مصدره."],
];
const PLAIN_KEY = {
  missing: "هذه الخدمة تطلب مفتاحًا. أدخل مفتاحك ليُقرأ المقال.",
  refused: "لم تقبل الخدمة هذا المفتاح. تحقّق منه ثم أدخله ثانية.",
  garbled: "في المفتاح رموز لا تكون في مفتاح. انسخه من مصدره.",
};

const access = { key: null }; // of the service; kept in memory only, gone with the page

/** Draws {plain, message, requestId, needsKey} into a box; `retry` asks again, with the key where one is needed. */
function drawFailure(box, { plain, message, requestId, needsKey }, retry = null) {
  const detail = [message, requestId && `request_id: ${requestId}`].filter(Boolean).join(" · ");
  const behind = el("details", {}, el("summary", {}, "رسالة الخدمة"), el("code", { lang: "en" }, detail));
  const again = retry && (needsKey ? keyField(retry) : button({ class: "quiet" }, () => retry(), "أعد المحاولة"));
  box.replaceChildren(el("p", {}, plain), ...(again && needsKey ? [again] : []), ...(detail ? [behind] : []),
    ...(again && !needsKey ? [again] : []));
  box.hidden = false;
}

/** A field for the key; no form of its own, for it may stand within one. */
function keyField(retry) {
  const field = el("input", { type: "password", dir: "ltr", autocomplete: "off", spellcheck: "false" });
  const problem = el("p", { role: "alert", hidden: true }, PLAIN_KEY.garbled);
  const enter = () => {
    const key = field.value.trim();
    problem.hidden = /^[\x21-\x7e]+$/.test(key);
    if (!problem.hidden) return field.focus();
    access.key = key;
    return retry();
  };
  field.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    event.stopPropagation();
    enter();
  });
  return el("div", { class: "key" },
    el("label", {}, "مفتاح الخدمة", field), button({ class: "primary" }, enter, "ادخل"), problem,
    el("p", { class: "hint" }, "يبقى في ذاكرة هذه الصفحة وحدها ولا يُحفظ."));
}

function articleFailure(message) {
  const known = PLAIN_ARTICLE.find(([pattern]) => pattern.test(message));
  return { plain: known ? known[1] : "لم يُقرأ هذا المقال.", message };
}

function failureOf(error) {
  return error.plain ? error : { plain: PLAIN[500], message: String(error) };
}
