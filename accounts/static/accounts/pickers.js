'use strict';
// Names the pickers: Select2 puts a combobox of its own in place of the labelled field.
django.jQuery(() => {
    for (const select of document.querySelectorAll('select.admin-autocomplete')) {
        const label = document.querySelector(`label[for="${select.id}"]`);
        const box = select.nextElementSibling?.querySelector('[role="combobox"]');
        const chosen = box?.querySelector('[role="textbox"]');
        if (label && chosen) {
            label.id ||= `${select.id}_label`;
            box.setAttribute('aria-labelledby', `${label.id} ${chosen.id}`);
            chosen.setAttribute('aria-labelledby', label.id);
        }
    }
});
