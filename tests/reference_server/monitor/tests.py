import json

from django.core.management import call_command
from django.test import Client, TestCase, override_settings

from monitor.models import Host, Service, ServiceReport, Template

REPORT_PATH = "/api/client/service/report/"
FORM = {
    "client_id": "1",
    "service_name": "LinuxCPU",
    "data": '{"status": 0, "user": 1.25}',
    "seq": "17",
}


class ReferenceServerTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        call_command("create_fixture")

    def setUp(self):
        self.client = Client(enforce_csrf_checks=True)

    def services(self, client_id=1):
        return self.client.get(f"/api/client/config/{client_id}/").json()["services"]

    def test_services_come_from_the_templates_of_the_host_and_of_its_groups(self):
        self.assertEqual(
            self.services(),
            {
                "LinuxCPU": ["get_linux_cpu", 1],
                "LinuxMemory": ["get_memory_info", 1],
                "LinuxNetwork": ["GetNetworkStatus", 2],
            },
        )

    def test_the_hosts_own_template_wins_over_its_groups(self):
        own = Template.objects.create(name="own")
        own.services.add(
            Service.objects.create(
                name="LinuxMemory", plugin_name="get_memory_info", interval=60
            )
        )
        Host.objects.get(pk=1).templates.add(own)
        self.assertEqual(self.services()["LinuxMemory"], ["get_memory_info", 60])

    def test_a_host_without_templates_has_no_services(self):
        Host.objects.create(pk=2, name="host-2")
        self.assertEqual(self.services(2), {})

    def test_an_unknown_host_is_not_found(self):
        self.assertEqual(self.client.get("/api/client/config/3/").status_code, 404)

    def test_a_changed_interval_is_served(self):
        call_command("set_interval", "LinuxCPU", "7")
        self.assertEqual(self.services()["LinuxCPU"], ["get_linux_cpu", 7])

    def test_a_get_without_its_slash_is_redirected(self):
        self.assertRedirects(
            self.client.get("/api/client/config/1"),
            "/api/client/config/1/",
            status_code=301,
        )

    def test_a_post_without_its_slash_is_lost(self):
        answer = self.client.post(REPORT_PATH.rstrip("/"), FORM, follow=True)
        # A client that follows the redirect comes back with a GET.
        self.assertEqual(answer.redirect_chain, [(REPORT_PATH, 301)])
        self.assertEqual(answer.status_code, 405)
        self.assertEqual(ServiceReport.objects.count(), 0)

    @override_settings(REPORT_ENCODING="form")
    def test_a_form_is_stored(self):
        self.assertEqual(self.client.post(REPORT_PATH, FORM).status_code, 200)
        report = ServiceReport.objects.get()
        self.assertEqual(report.host_id, 1)
        self.assertEqual(report.service_name, "LinuxCPU")
        self.assertEqual(report.data, {"status": 0, "user": 1.25})
        self.assertEqual(report.extra, {"seq": "17"})

    @override_settings(REPORT_ENCODING="json")
    def test_a_json_body_is_stored(self):
        body = {**FORM, "client_id": 1, "data": {"status": 0}, "seq": 17}
        answer = self.client.post(REPORT_PATH, body, content_type="application/json")
        self.assertEqual(answer.status_code, 200)
        report = ServiceReport.objects.get()
        self.assertEqual((report.host_id, report.data), (1, {"status": 0}))
        self.assertEqual(report.extra, {"seq": 17})

    def test_the_other_encoding_is_refused(self):
        with override_settings(REPORT_ENCODING="json"):
            self.assert_refused(FORM)
        with override_settings(REPORT_ENCODING="form"):
            self.assert_refused(json.dumps(FORM), content_type="application/json")

    @override_settings(REPORT_ENCODING="form")
    def test_what_is_no_report_is_refused(self):
        for name in ("client_id", "service_name", "data"):
            self.assert_refused({key: FORM[key] for key in FORM if key != name})
        self.assert_refused({**FORM, "data": "{"})
        self.assert_refused({**FORM, "client_id": "x"})

    def assert_refused(self, body, **options):
        self.assertEqual(
            self.client.post(REPORT_PATH, body, **options).status_code, 400
        )
        self.assertEqual(ServiceReport.objects.count(), 0)
