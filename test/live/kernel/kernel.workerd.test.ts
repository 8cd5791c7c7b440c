// The kernel in workerd: what its tests say of it on Node holds there too.
import './aggregates.test.ts' // oxlint-disable-line import/no-unassigned-import -- it registers its tests
import './dataflow.test.ts' // oxlint-disable-line import/no-unassigned-import -- it registers its tests
import './joins.test.ts' // oxlint-disable-line import/no-unassigned-import -- it registers its tests
import './sets.test.ts' // oxlint-disable-line import/no-unassigned-import -- it registers its tests
